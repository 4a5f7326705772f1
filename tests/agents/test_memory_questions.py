"""What a question means: slips of the finger, the runs it names in words, the time, its side."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from opswright.agents.memory.doc_passages import doc_passages
from opswright.agents.memory.passage_words import FOLDER, words_for
from opswright.agents.memory.question import prefers
from opswright.agents.memory.runs_meant import KnownRuns, RunFacts
from opswright.agents.memory.said_times import said_time
from opswright.agents.memory.spelling import Vocabulary
from opswright.core.artifact_refs import REF_TYPES, ArtifactRef
from opswright.core.errors import IntegrityError

WORDS = Vocabulary.of(
    ["accuracy of the first model", "the last checkpoint", "server of the endpoint support", "drift alarm",
     "training with a batch size", "what is exact match", "validation loss", "which release is promoted"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("acuracy of frist modle", "accuracy of first model"),
        ("wat was the exct match of the last chekpoint", "what was the exact match of the last checkpoint"),
        ("endpiont suport wich sever", "endpoint support which server"),
        ("drfit alram", "drift alarm"),
        ("validaton los", "validation loss"),
        ("trainning batchsize", "training batchsize"),
    ],
)
def test_a_slip_of_the_finger_is_read_as_the_word_of_the_passages(said: str, meant: str) -> None:
    assert WORDS.mended(said) == meant


@pytest.mark.parametrize(
    "said", ["models", "released", "v2", "qwen3", "übung", "slack", "checkpoints", "x" * 500]
)
def test_other_forms_names_and_far_words_stay_as_they_are(said: str) -> None:
    assert WORDS.mended(said) == said


def test_a_vocabulary_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    WORDS.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json").mended("modle") == "model"
    (tmp_path / "words.json").write_text("[1]")
    with pytest.raises(IntegrityError, match="holds no vocabulary"):
        Vocabulary.load(tmp_path / "words.json")


RUNS = KnownRuns()
for told in (
    RunFacts("20261120-100000-aaaaaa", 1, ("dataset", "checkpoint", "bundle"), "GO", ("v1-abc",)),
    RunFacts("20261121-100000-bbbbbb", 40, ("dataset", "checkpoint"), "NO_GO", goes_on=True),
    RunFacts("20261122-100000-cccccc", 80, ("checkpoint", "bundle"), "GO", ("v2-def",), True),
    RunFacts("20261123-100000-dddddd", 120, ()),
):
    RUNS.note(told)


@pytest.mark.parametrize(
    ("question", "runs"),
    [
        ("how accurate is the first model?", "a"),
        ("what did the second trained model score?", "b"),
        ("learning rate of the latest checkpoint", "c"),
        ("why was the model refused?", "b"),
        ("how come the first try at retraining was turned down?", "b"),
        ("how long did the first retraining take?", "b"),
        ("which engine does v1 have?", "a"),
        ("what is live?", "c"),
        ("what did run 20261123-100000-dddddd do?", "d"),
        ("which models were accepted?", "ca"),
        ("how long did the last run take?", "d"),
        ("what is a gate?", ""),
        ("who deployed v7?", ""),
    ],
)
def test_a_run_is_known_by_its_order_its_verdict_or_its_release(question: str, runs: str) -> None:
    assert "".join(run[-1] for run in RUNS.meant(question)) == runs


def test_a_run_is_known_by_a_kind_of_artifact_that_another_package_brings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Soup(ArtifactRef):
        kind, spoken = "soup", ("broth",)

    monkeypatch.setitem(REF_TYPES, "soup", Soup)
    known = KnownRuns()
    for told in (RunFacts("20261120-100000-aaaaaa", 1, ("soup",)), RunFacts("20261121-100000-bbbbbb", 2, ())):
        known.note(told)
    assert known.meant("who made the last broth?") == known.meant("the first soup") != ()


def test_known_runs_are_the_same_after_they_were_saved(tmp_path: Path) -> None:
    RUNS.save(tmp_path / "runs.json")
    assert KnownRuns.load(tmp_path / "runs.json").meant("what is live?") == RUNS.meant("what is live?")
    (tmp_path / "runs.json").write_text('[{"run": 1}]')
    with pytest.raises(IntegrityError, match="holds no runs"):
        KnownRuns.load(tmp_path / "runs.json")


NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("what failed yesterday?", "2026-11-17T00:00", "2026-11-18T00:00"),
        ("what ran today", "2026-11-18T00:00", "2026-11-19T00:00"),
        ("what did we deploy last week", "2026-11-09T00:00", "2026-11-16T00:00"),
        ("what did this month cost", "2026-11-01T00:00", None),
        ("who approved something last month?", "2026-10-01T00:00", "2026-11-01T00:00"),
        ("runs of the last 3 days", "2026-11-15T15:30", None),
        ("what was promoted two days ago?", "2026-11-16T00:00", "2026-11-17T00:00"),
        ("what happened since Monday?", "2026-11-16T00:00", None),
        ("what was refused in March?", "2026-03-01T00:00", "2026-04-01T00:00"),
        ("what was refused in december", "2025-12-01T00:00", "2026-01-01T00:00"),
        ("what ran on 2026-11-02?", "2026-11-02T00:00", "2026-11-03T00:00"),
        ("what changed since 2026-11-02?", "2026-11-02T00:00", None),
    ],
)
def test_a_time_in_words_is_a_time_of_the_calendar(question: str, since: str, until: str | None) -> None:
    found = said_time(question, NOW)
    assert found is not None and found.since[:16] == since
    assert (found.until and found.until[:16]) == until


@pytest.mark.parametrize(
    "question",
    [
        "what did the last run do?",
        "may I deploy?",
        "on 2026-13-45",
        "on 9999-12-31",
        "99999 weeks ago",
        "in march 9999",
    ],
)
def test_what_names_no_time_is_no_time(question: str) -> None:
    assert said_time(question, NOW) is None


@pytest.mark.parametrize(
    ("question", "side"),
    [
        ("why was the model refused?", "record"),
        ("how long did the first run take?", "record"),
        ("how do I sign the ledger?", "docs"),
        ("keep the training going when my laptop sleeps", "docs"),
        ("the run died, do I start over?", "docs"),
        ("my approval has timed out, what now?", "docs"),
        ("how does a gate decide?", ""),
        ("how long are requests kept?", ""),
    ],
)
def test_the_form_of_a_question_tells_the_record_from_the_docs(question: str, side: str) -> None:
    assert prefers(question) == side


def test_a_passage_is_asked_for_by_the_words_of_what_it_is_about() -> None:
    assert "turned down" in words_for("verdict.NO_GO") and "turned down" not in words_for("verdict.GO")
    assert words_for("no such thing", "") == ""


def test_every_section_that_has_words_is_there() -> None:
    lines = (FOLDER / "page_words.txt").read_text(encoding="utf-8").splitlines()
    written = {line.partition(" = ")[2] for line in lines if line and not line.startswith("#")}
    assert written - {passage.asked_as for passage in doc_passages()} == set()
