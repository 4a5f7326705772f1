from __future__ import annotations

import json
from typing import Any

import pytest

from opswright.core.artifact_refs import DatasetRef, EvalReportRef
from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.data.sample import Sample
from opswright.evals.baselines import Baseline, BaselineRun, kept_answers, to_document
from opswright.evals.baselines import run_baselines as run_for
from opswright.evals.copy_rules import keep_said
from opswright.evals.report import BASELINES, TRIVIAL_BASELINES, best_trivial

TRAIN = [
    *[(f"play some {x} music", "play music") for x in ("jazz", "rock", "folk", "loud")],
    *[(f"what is my {x} balance", "balance") for x in ("savings", "card")],
]


KEPT = BaselineRun((Baseline("majority", ("x", "y"), 0.1),), {"tfidf_svc": "one label"})


def run_baselines(train: Any, prompts: Any, progress: Any) -> Any:
    """Those of a classification, asked some texts."""
    asked = [Sample.of(str(i), text) for i, text in enumerate(prompts)]
    return run_for("classify", train, asked, progress).baselines


def quietly(done: int, of: int) -> None:
    """Nobody listens."""


def test_the_majority_class_and_two_linear_models_answer_every_prompt() -> None:
    found = {
        one.name: one.answers for one in run_baselines(TRAIN, ["play blues music", "my balance"], quietly)
    }
    assert found["majority"] == ("play music", "play music")
    assert found["tfidf_logreg"] == found["tfidf_svc"] == ("play music", "balance")


def test_baselines_answer_the_same_on_every_run() -> None:
    prompts = ["play", "balance", "something else"]
    first, second = run_baselines(TRAIN, prompts, quietly), run_baselines(TRAIN, prompts, quietly)
    assert [one.answers for one in first] == [one.answers for one in second]


def test_spellings_of_one_label_are_one_class_answered_by_the_usual_one() -> None:
    play = [(f"play some {x} music", "play music") for x in ("jazz", "rock")]
    play += [(f"play some {x} music", "play_music") for x in ("folk", "loud", "old")]
    balance = [(f"what is my {x} balance", "balance") for x in ("savings", "card", "own", "last")]
    found = run_baselines([*balance, *play], ["play jazz music", "my balance"], quietly)
    assert [one.answers for one in found] == [("play_music", "play_music"), *[("play_music", "balance")] * 2]


def test_a_tie_for_the_majority_goes_by_the_alphabet() -> None:
    assert run_baselines([("x", "b"), ("y", "a")], ["z"], quietly)[0].answers == ("a",)


def test_with_one_label_only_the_majority_can_be_given() -> None:
    assert [one.name for one in run_baselines([("x", "a"), ("y", "a")], ["z"], quietly)] == ["majority"]
    assert [one.name for one in run_baselines([("?", "a"), ("!", "b")], ["z"], quietly)] == ["majority"]
    with pytest.raises(AskError, match="need training rows"):
        run_baselines([], ["z"], quietly)


def test_answers_are_kept_for_the_same_rows_and_items_and_for_no_others(workspace: Workspace) -> None:
    store, train = workspace.artifacts, DatasetRef.of("a" * 64)
    with store.staging() as folder:
        document: dict[str, Any] = to_document(KEPT, ["i1", "i2"])
        import json

        (folder / BASELINES).write_text(json.dumps(document))
        facts = {"train_dataset": str(train), "suite_digest": "s"}
        ref = store.save(EvalReportRef, folder, facts)
    assert kept_answers(store, train, "s", ["i1", "i2"]) == KEPT
    assert kept_answers(store, train, "s", ["i1"]) is None
    assert kept_answers(store, train, "other", ["i1", "i2"]) is None
    assert kept_answers(store, DatasetRef.of("b" * 64), "s", ["i1", "i2"]) is None
    (store.folder(ref) / "files" / BASELINES).write_text("{}")  # damaged since
    assert kept_answers(store, train, "s", ["i1", "i2"]) is None


FREE = [("make it short: at this point in time", "now"), ("make it short: in order to", "to")]


def test_free_answers_have_a_constant_one_the_question_itself_and_the_nearest() -> None:
    asked = [Sample.of("1", "make it short: at this moment in time", "now"), Sample.of("2", "zzz", "x")]
    found = run_for("generate", FREE, asked, quietly)
    answers = {one.name: one.answers for one in found.baselines}
    assert answers["constant"] == ("now", "now") and answers["copy"][1] == "zzz"
    assert answers["nearest"][0] == "now" and len(answers["nearest"]) == 2
    assert {one.name for one in found.baselines if one.name in TRIVIAL_BASELINES} == {"constant", "copy"}


def test_an_answer_from_passages_is_held_against_giving_back_the_nearest_one() -> None:
    passages = ("The red door is locked at six.", "The blue door has no lock.")
    asked = [
        Sample.of("1", "When is the red door locked?", "at six", contexts=passages),
        Sample.of("2", "Has the blue door a lock?", "no", contexts=passages),
    ]
    found = run_for("answer", None, asked, quietly)
    assert {one.name: one.answers for one in found.baselines}["passage"] == passages
    assert {one.name for one in found.baselines if one.name in TRIVIAL_BASELINES} == {"copy", "passage"}
    assert run_for("answer", None, [Sample.of("1", "q", "a")], quietly).skipped["passage"] == (
        "no item has passages"
    )


def test_a_call_is_held_against_the_nearest_one_without_what_the_user_did_not_say() -> None:
    train = [
        ("play Hello by Adele", '{"name": "play", "arguments": {"track": "Hello", "artist": "Adele"}}'),
        ("what time is it", '{"name": "time", "arguments": {}}'),
    ]
    asked = [Sample.of("1", "play Yesterday by adele", "{}")]
    found = {one.name: one for one in run_for("extract", train, asked, quietly).baselines}
    wanted = {"name": "play", "arguments": {"artist": "Adele"}}
    assert json.loads(found["nearest_said"].answers[0]) == wanted
    assert "nearest_said" in found and "nearest_said" not in TRIVIAL_BASELINES
    assert keep_said("no JSON", "a", "b") == "no JSON"
    assert keep_said('{"a": ["x", "y", 3], "n": null}', "x y", "y") == '{"a": ["y", 3], "n": null}'


def test_what_makes_no_sense_is_left_out_in_words() -> None:
    many = [(f"text number {i}", f"answer {i}") for i in range(2500)]
    found = run_for("classify", many, [Sample.of("1", "text number 7", "answer 7")], quietly)
    assert [one.name for one in found.baselines] == ["majority"]
    assert "2,500 labels over 2,500 rows" in found.skipped["tfidf_svc"]
    unknown = run_for("answer", None, [Sample.of("1", "q", "a")], quietly)
    assert [one.name for one in unknown.baselines] == ["copy"]
    assert unknown.skipped["nearest"] == "the training rows are not known"
    wordless = run_for("extract", [("?", "{}"), ("!", "[]")], [Sample.of("1", "?", "{}")], quietly)
    assert set(wordless.skipped.values()) == {"the training texts have no words"}


def test_a_choice_has_baselines_that_need_no_training() -> None:
    asked = [Sample.of("1", "q", "ccc", choices=("a", "ccc", "bb"))]
    found = run_for("choose", None, asked, quietly)
    assert {one.name: one.answers for one in found.baselines} == {
        "first_choice": ("a",),
        "longest_choice": ("ccc",),
    }
    assert all(one.name in TRIVIAL_BASELINES for one in found.baselines) and found.skipped == {}


def test_the_trivial_baseline_of_a_report_is_the_best_of_those_that_learned_nothing() -> None:
    assert best_trivial({"constant": 0.1, "copy": 0.3, "nearest": 0.9}) == "copy"
    assert best_trivial({"nearest": 0.9, "constant": None}) is None
