"""A suite with a judge: read, shown, run by `evaluate`, and said in its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.gate import GateSpec
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.data.sample import Sample
from opswright.evals.gate_eval import judge as judge_gate
from opswright.evals.parity import suite_prompts
from opswright.evals.report import read_report
from opswright.evals.suites import load_suite
from opswright.evals.suites.extend import extend_suite
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.ui.cli import run

LAPTOP = Machine("Linux", "x86_64", "3.11", 2, 16, 100, ())
TINY = Path(__file__).parents[1] / "tiny" / "judged.yaml"


@pytest.fixture
def suite_file(tmp_path: Path, judge: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny judged suite, whose judge is there and prefers what it is shown first."""
    monkeypatch.setenv("TINY_JUDGE_KEY", "key-of-the-judge")
    path = tmp_path / "judged.yaml"
    path.write_text(TINY.read_text().replace("http://127.0.0.1:9", judge.url))
    judge.say = _say
    return path


def _say(body: dict[str, Any]) -> str:
    if body["model"] == "router":
        return "It is so."
    if "<first " in body["messages"][1]["content"]:
        return '{"reason": "r", "better": "first"}'
    return '{"reason": "as the rubric asks", "score": 4}'


def ask(suite_file: Path, server: Any, **more: Any) -> EvaluateRequest:
    return EvaluateRequest(model=server.url, endpoint_model="router", suite=suite_file, **more)


def test_a_report_names_its_judge_the_prompt_the_failures_and_the_position_bias(
    suite_file: Path, judge: Any, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    result = evaluate(ask(suite_file, judge), context())
    assert (result.metric, result.value) == ("rubric_judge", 0.75)
    rubric, pairs = result.judges["rubric_judge"], result.judges["pairwise_judge"]
    assert (rubric.model, rubric.judged, rubric.failed) == ("judge-1", 2, 0)
    assert len(rubric.prompt_digest) == 64 and rubric.prompt_digest != pairs.prompt_digest
    assert pairs.disagreed == 1 and "changed its mind on 100%" in result.note
    assert rubric.agreement is not None and rubric.agreement["n"] == 1
    report = workspace.artifacts.open(result.report)
    items = read_report(report).items
    assert items[0].details["rubric_judge"]["reason"] == "as the rubric asks"
    everything = b"".join(path.read_bytes() for path in report.path.rglob("*") if path.is_file())
    assert b"key-of-the-judge" not in everything
    assert set(judge.keys) == {"Bearer key-of-the-judge", None}  # the model's own endpoint is not given it


def test_what_a_judge_said_is_not_asked_twice(
    suite_file: Path, judge: Any, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    first = evaluate(ask(suite_file, judge), context())
    before = len(judge.requests)
    assert evaluate(ask(suite_file, judge), context()).value == first.value
    asked = [body for body in judge.requests[before:] if body["model"] == "judge-1"]
    assert asked == []


def test_a_judge_that_fails_on_all_fails_the_evaluation_and_on_some_is_counted(
    suite_file: Path, judge: Any, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    judge.say = lambda body: "It is so." if body["model"] == "router" else "I like it."
    with pytest.raises(BackendError, match=r"rubric_judge.*scored none of 2 answers.*not JSON"):
        evaluate(ask(suite_file, judge), context())
    judge.say = lambda body: (
        "I like it." if "sky" in body["messages"][-1]["content"] and len(body["messages"]) > 1 else _say(body)
    )
    result = evaluate(ask(suite_file, judge), context())
    assert (result.n, result.unscored, result.judges["rubric_judge"].failures) == (1, 1, {"not JSON": 1})
    assert "scorer rubric_judge failed on 1 answers, which it does not count" in result.note


def test_a_gate_holds_what_a_judge_did_not_score_against_the_model(
    suite_file: Path, judge: Any, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    """Neither GO nor NO_GO rests on answers that nobody judged."""
    rows = [f'  - {{id: "{n}", text: "question {n}", target: "x"}}' for n in range(60)]
    suite_file.write_text(
        "task: generate\nsamples:\n" + "\n".join(rows) + "\nscorers: [{name: rubric_judge, rubric: right}]\n"
        f"judge: {{url: '{judge.url}', model: judge-1, retries: 0}}\n"
    )
    judge.say = lambda body: (
        "hm" if body["model"] != "router" and "question 1" in body["messages"][-1]["content"] else
        '{"reason": "r", "score": 5}'
    )  # fmt: skip
    result = evaluate(ask(suite_file, judge), context())
    assert result.value == 1.0 and result.unscored == 11
    measured = read_report(workspace.artifacts.open(result.report))
    verdict = judge_gate(GateSpec(suite="judged", min=0.9), measured, None)
    assert verdict.decision == "INCONCLUSIVE"


def test_the_asker_may_name_another_judge_and_the_items_are_then_not_the_same(
    suite_file: Path, judge: Any, context: Callable[..., StepContext], workspace: Workspace
) -> None:
    other = judge.settings(model="judge-2")
    one, two = (evaluate(ask(suite_file, judge, **more), context()) for more in ({}, {"judge": other}))
    assert two.judges["rubric_judge"].model == "judge-2"
    digests = [read_report(workspace.artifacts.open(result.report)).suite_digest for result in (one, two)]
    assert digests[0] != digests[1]
    with pytest.raises(AskError, match="no scorer that asks a judge"):
        evaluate(ask(TINY.with_name("generate.yaml"), judge, judge=other), context())


def test_preflight_says_who_is_sent_what_and_stops_without_the_key(
    suite_file: Path,
    judge: Any,
    context: Callable[..., StepContext],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = evaluate.preflight
    assert check is not None
    found = {one.message: one.level for one in check(ask(suite_file, judge), LAPTOP, workspace)}
    said = next(message for message in found if "are sent to the judge judge-1" in message)
    assert found[said] == "warn" and "secret:env:TINY_JUDGE_KEY" in said
    monkeypatch.delenv("TINY_JUDGE_KEY")
    levels = {one.level for one in check(ask(suite_file, judge), LAPTOP, workspace)}
    assert "stop" in levels
    assert evaluate.estimate(ask(suite_file, judge), LAPTOP, workspace).usd is None  # type: ignore[misc]


def test_a_judged_suite_is_shown_and_validated_and_nobody_is_asked(
    suite_file: Path, judge: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["suites", "validate", str(suite_file)]) == 0
    assert "not asked: it scores by asking judge-1 at" in capsys.readouterr().out
    assert run(["suites", "show", str(suite_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judge"]["model"] == "judge-1"
    assert judge.requests == []


@pytest.mark.parametrize(
    ("was", "instead", "said"),
    [
        ("model: judge-1", "modle: judge-1", "'judge.model' is missing"),
        ("secret:env:TINY_JUDGE_KEY", "sk-1234567890", "not the secret itself"),
        ("http://127.0.0.1:9", "http://me:word@127.0.0.1", "line 12: judge.url"),
        ("score: 1", "points: 1", "sample 'tea': metadata.gold"),
        ("score: 1", f"score: 1{'0' * 400}", "sample 'tea': metadata.gold"),
        ("- pairwise_judge", "- {name: pairwise_judge, against: {file: gone.jsonl}}", "line 11: no file at"),
        ("rubric_judge, rubric:", "rubric_judge, rubrik:", "no parameter 'rubrik'"),
        ('"Right, in one sentence."', '"right", lowest: 5', "2 to 101 steps"),
        ("- pairwise_judge", "- {name: pairwise_judge, against: base.jsonl}", "against: Input should be"),
    ],
)
def test_what_is_wrong_with_a_judged_suite_is_said(tmp_path: Path, was: str, instead: str, said: str) -> None:
    text = TINY.read_text()
    assert was in text
    path = tmp_path / "judged.yaml"
    path.write_text(text.replace(was, instead))
    with pytest.raises(AskError) as caught:
        load_suite(path).check_scorers()
    assert said in str(caught.value) and "sk-1234567890" not in str(caught.value)


def test_a_file_that_answers_are_compared_with_is_part_of_the_suites_digest(tmp_path: Path) -> None:
    path = tmp_path / "judged.yaml"
    against = "- {name: pairwise_judge, against: {file: base.jsonl}}"
    path.write_text(TINY.read_text().replace("- pairwise_judge", against))
    (tmp_path / "base.jsonl").write_text('{"id": "sky", "answer": "a"}')
    before = load_suite(path).digest
    (tmp_path / "base.jsonl").write_text('{"id": "sky", "answer": "b"}')
    assert load_suite(path).digest != before


def test_a_judge_that_nobody_asks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judged.yaml"
    path.write_text("task: generate\nsamples: [{text: a, target: b}]\njudge: {url: 'http://a', model: m}\n")
    with pytest.raises(AskError, match="line 3: a judge is named, and no scorer asks one"):
        load_suite(path)


def test_a_judged_suite_that_is_extended_keeps_its_judge_its_files_and_its_gold(tmp_path: Path) -> None:
    path = tmp_path / "judged.yaml"
    against = "- {name: pairwise_judge, against: {file: base.jsonl}}"
    path.write_text(TINY.read_text().replace("- pairwise_judge", against))
    (tmp_path / "base.jsonl").write_text('{"id": "sky", "answer": "a"}')
    suite = load_suite(path)
    longer = extend_suite(suite, [Sample.of("new", "q", "a")], tmp_path / "longer")
    assert longer.judge == suite.judge and len(longer.items) == 3
    assert longer.items_by_id(["tea"])[0].metadata == suite.items_by_id(["tea"])[0].metadata
    assert longer.specs[1].document() == suite.specs[1].document()


def test_chats_asked_after_the_models_own_turns_are_not_extended(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="asks for several turns"):
        extend_suite(load_suite(TINY.with_name("turns.yaml")), [Sample.of("n", "q", "a")], tmp_path / "x")


def test_nobody_is_asked_when_an_engine_is_compared_with_its_checkpoint(suite_file: Path, judge: Any) -> None:
    prompts = suite_prompts(load_suite(suite_file), "suite judged", 10)
    assert prompts.scorer is None and "judge" in prompts.unscored and len(prompts.chats) == 2
