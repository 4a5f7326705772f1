"""ragas metrics: alone where they need no model, and by a judge that behaves, or does not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.data.sample import Sample
from opswright.evals.judges.summary import judge_summaries
from opswright.evals.scorers import Score, Scorer, ScorerSpec, ScoringContext, ServerAccess, load_scorer

pytest.importorskip("ragas")
pytestmark = pytest.mark.e2e

PASSAGES = ("The moon is 384,400 km away.", "Tides follow the moon.")
ASKED = Sample.of(
    "moon",
    "How far is the moon?",
    "It is 384,400 km away.",
    contexts=PASSAGES,
    metadata={"reference_contexts": ["The moon is 384,400 km away."]},
)
ALONE = {
    "ragas_string_similarity": 1.0,
    "ragas_quoted_spans": 1.0,  # nothing is quoted, so nothing falsely
    "ragas_context_match_precision": 1.0,
    "ragas_context_match_recall": 1.0,
}


@pytest.fixture(autouse=True)
def _nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ragas writes nothing into the person's home, where it would keep who uses it."""
    from ragas import _analytics

    home = tmp_path / "home"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    _analytics.get_userid.cache_clear()
    yield
    assert not home.exists()


def made(name: str, judge: Any = None, cache: Path | None = None, **parameters: Any) -> Scorer:
    settings = None if judge is None else judge.settings()
    context = ScoringContext("answer", samples=(ASKED,), judge=settings, access=ServerAccess(cache))
    return load_scorer(ScorerSpec(name, parameters), context)


def replies(body: dict[str, Any]) -> str:
    """A well-behaved judge: two statements, one of them true; questions are the one that was asked."""
    prompt = body["messages"][-1]["content"]
    if '"noncommittal"' in prompt:
        return json.dumps({"question": "How far is the moon?", "noncommittal": 0})
    if '"classifications"' in prompt:
        rows = [{"statement": "s", "reason": "r", "attributed": one} for one in (1, 0)]
        return json.dumps({"classifications": rows})
    if '"claims"' in prompt and '"verdict"' not in prompt:
        return json.dumps({"claims": ["one", "two"]})
    if '"statements"' in prompt and '"verdict"' not in prompt:
        return json.dumps({"statements": ["one", "two"]})
    if '"statements"' in prompt:
        rows = [{"statement": "s", "reason": "r", "verdict": one} for one in (1, 0)]
        return json.dumps({"statements": rows})
    return json.dumps({"reason": "r", "verdict": int("384,400" in prompt.rpartition("context")[2])})


JUDGED = {
    "ragas_faithfulness": 0.5,
    "ragas_answer_relevancy": 1.0,
    "ragas_context_precision": 1.0,
    "ragas_context_recall": 0.5,
    "ragas_factual_correctness": 0.5,
}


@pytest.mark.parametrize("name", ALONE)
def test_what_needs_no_model_scores_offline(name: str) -> None:
    scorer = made(name)
    got = scorer.score(ASKED, "It is 384,400 km away.")
    assert got.value == pytest.approx(ALONE[name], abs=1e-6) and got.fault is None
    assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"


def test_quotes_are_held_against_the_passages() -> None:
    scorer = made("ragas_quoted_spans")
    assert scorer.score(ASKED, 'They say "The moon is 384,400 km away".').value == 1
    assert scorer.score(ASKED, 'They say "The moon is made of cheese".').value == 0


def test_passages_unlike_the_reference_ones_score_0_and_none_is_not_scored() -> None:
    other = Sample.of("x", "q", "a", contexts=("zzz",), metadata={"reference_contexts": ["The moon"]})
    for name in ("ragas_context_match_precision", "ragas_context_match_recall"):
        assert made(name).score(other, "a").value == pytest.approx(0, abs=1e-6)
        assert made(name).score(Sample.of("y", "q", "a", contexts=("zzz",)), "a") == Score(None)
        wrong = Sample.of("z", "q", "a", contexts=("zzz",), metadata={"reference_contexts": "one"})
        assert "list of texts" in str(made(name).score(wrong, "a").fault)


@pytest.mark.parametrize("name", JUDGED)
def test_a_judge_that_behaves_gives_ragas_its_score(judge: Any, name: str) -> None:
    judge.say = replies
    score = made(name, judge).score(ASKED, "It is 384,400 km away. It is cheese.")
    assert score.fault is None and score.value == pytest.approx(JUDGED[name], abs=0.01)
    assert score.detail is not None and score.detail["tokens"] == 12 * len(judge.requests)
    assert {body["model"] for body in judge.requests} == {"judge-1"}


@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("how", ["prose", "half", "hang up", "500", "cut"])
def test_a_judge_that_does_not_behave_gives_no_score(judge: Any, name: str, how: str) -> None:
    judge.say, judge.always = replies, how
    scorer = made(name, judge)
    score = scorer.score(ASKED, "It is 384,400 km away.")
    assert score.value is None and score.fault
    summary = judge_summaries([scorer], [ASKED], {name: [score]})[name]
    assert (summary["judged"], summary["failed"]) == (0, 1) and summary["prompt"].startswith("ragas 0.4")


@pytest.mark.parametrize(
    ("was", "instead", "said"),
    [
        ('"verdict": 1', '"verdict": 7', "off the scale: verdict 7"),
        ('"verdict": 1', '"verdict": "1"', "other fields"),
        ('"verdict": 1', '"verdict": true', "other fields"),
        ('["one", "two"]', "[]", "empty list"),
        ('["one", "two"]', '["one", "two", "three"]', "lost verdicts: 2 on 3"),
    ],
)
def test_what_ragas_would_believe_is_refused(judge: Any, was: str, instead: str, said: str) -> None:
    judge.say = lambda body: replies(body).replace(was, instead)
    for name in ("ragas_faithfulness", "ragas_factual_correctness"):
        score = made(name, judge).score(ASKED, "It is 384,400 km away.")
        assert score.value is None and said in str(score.fault)


def test_replies_are_kept_by_judge_and_one_bad_row_costs_only_itself(judge: Any, tmp_path: Path) -> None:
    cache = tmp_path / "judgements.sqlite"
    judge.say = lambda body: "?" if "cheese" in body["messages"][-1]["content"] else replies(body)
    scorer = made("ragas_faithfulness", judge, cache)
    pairs = [(ASKED, "It is 384,400 km away."), (ASKED, "It is cheese."), (ASKED, "Far.")]
    assert [one.value for one in scorer.score_all(pairs)] == [0.5, None, 0.5]
    before = len(judge.requests)
    assert [one.value for one in scorer.score_all(pairs)] == [0.5, None, 0.5]
    assert len(judge.requests) == before + 2  # the bad row's, asked twice


def test_without_passages_or_a_right_answer_there_is_nothing_to_score(judge: Any) -> None:
    bare = Sample.of("bare", "q")
    for name in set(JUDGED) - {"ragas_answer_relevancy"}:
        assert made(name, judge).score(bare, "a") == Score(None)
    assert judge.requests == []
