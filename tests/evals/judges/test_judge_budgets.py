"""What judges may take: held before each request, so that a budget can promise it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.token_spending import most_tokens
from opswright.core.workspace import Workspace
from opswright.data.sample import Sample
from opswright.evals.scorers import Score, ScorerSpec, ScoringContext, ServerAccess, load_scorer
from opswright.skills.evaluate import EvaluateRequest, evaluate

ASKED = [Sample.of(f"q{n}", f"question {n}", f"right {n}") for n in range(12)]


def judged(judge: Any, access: ServerAccess, answer: str = "an answer", **settings: Any) -> list[Score]:
    named = judge.settings(max_tokens=64, concurrency=1, **settings)
    context = ScoringContext("generate", judge=named, access=access)
    scorer = load_scorer(ScorerSpec("rubric_judge", {"rubric": "Is it right?"}), context)
    return scorer.score_all([(sample, answer) for sample in ASKED])


def most_of_one(judge: Any) -> int:
    """Tokens that one request and its reply take at most."""
    judge.requests.clear()
    judged(judge, ServerAccess())
    return most_tokens([judge.requests[0]["messages"]]) + 64


def test_what_may_pass_a_judges_budget_is_not_asked_and_says_so(judge: Any) -> None:
    one = most_of_one(judge)
    judge.requests.clear()
    found = judged(judge, ServerAccess(), budget_tokens=one * 3)
    not_asked = [score.fault for score in found if score.value is None]
    assert len(judge.requests) + len(not_asked) == len(ASKED) and not_asked
    assert all(fault is not None and "budget_tokens of" in fault for fault in not_asked)
    assert judged(judge, ServerAccess(), budget_tokens=one // 2)[0].value is None
    assert all(score.value == 1 for score in judged(judge, ServerAccess(), budget_tokens=one * 12))


def test_requests_that_took_less_leave_the_rest_to_others(judge: Any) -> None:
    one = most_of_one(judge)  # what is reported is 12 of that
    access = ServerAccess()
    for answer in ("first", "second", "third"):
        found = judged(judge, access, answer, budget_tokens=one * 5)
        assert found[0].value == 1, "what the ones before took was settled at 12 tokens each"
    judge.requests.clear()
    assert judged(judge, ServerAccess(), "again", budget_tokens=100)[0].value is None


def test_all_that_ask_one_judge_in_a_step_have_one_budget(judge: Any) -> None:
    one = most_of_one(judge)
    judge.report = None  # no usage: each counts as it was held
    access = ServerAccess()
    first = judged(judge, access, budget_tokens=one * 12 + 40)
    assert all(score.value == 1 for score in first)
    assert all(score.value is None for score in judged(judge, access, "another", budget_tokens=one * 12 + 40))


def test_a_reply_that_cannot_be_read_and_is_asked_for_again_counts_each_time(judge: Any) -> None:
    one = most_of_one(judge)
    judge.report, judge.always = None, "prose"
    judge.requests.clear()
    judged(judge, ServerAccess(), budget_tokens=one * 14 + 40)
    assert len(judge.requests) == 14, "twelve, and two of them once more"


PRICES = """endpoints:
  http://127.0.0.1:9:
    "*": {usd_per_million_input: 1, usd_per_million_output: 4, source: "a list", date: "2026-11"}
"""
SUITE = (
    "task: generate\nsamples: [{text: hello, target: hi}]\nscorers: [{name: rubric_judge, rubric: right}]\n"
)


@pytest.mark.parametrize(
    ("limit", "tokens", "usd"),
    [(1_000_000, 1_000_000, 4.0), (None, None, None)],
    ids=["limited", "unlimited"],
)
def test_a_judges_budget_is_what_a_plan_reserves_at_the_dearer_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, tokens: int | None, usd: float | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.yaml").write_text(PRICES)
    Path("short.yaml").write_text(SUITE)
    workspace = Workspace(load_settings(home=tmp_path / "ws", prices={"file": "prices.yaml"}))
    judge = {"url": "http://127.0.0.1:9", "model": "judge-1", "budget_tokens": limit}
    request = EvaluateRequest.model_validate(
        {"model": CheckpointRef.pending(), "suite": "short.yaml", "judge": judge}
    )
    assert evaluate.estimate is not None
    cost = evaluate.estimate(request, Machine.here(tmp_path), workspace)
    assert (cost.tokens, cost.usd) == (tokens, usd)
    more = request.model_copy(update={"model": "http://127.0.0.1:9", "max_new_tokens": 10})
    cost = evaluate.estimate(more, Machine.here(tmp_path), workspace)
    if limit is None:
        assert cost.tokens is None and cost.usd is None
    else:
        assert cost.tokens is not None and cost.tokens > limit and cost.usd is not None and cost.usd > 4
