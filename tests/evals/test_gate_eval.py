from __future__ import annotations

from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.gate import Decision, GateSpec, Verdict
from opswright.evals.gate_eval import Incumbent, judge
from opswright.evals.runner import EvalResult

GO, NO_GO, INCONCLUSIVE = Decision.GO, Decision.NO_GO, Decision.INCONCLUSIVE


def spec(**fields: Any) -> GateSpec:
    return GateSpec.model_validate({"suite": "clinc150", **fields})


def incumbent(report: EvalResult | None) -> Incumbent:
    return Incumbent("support-3", report, "opswright evaluate model=bundle:b suite=clinc150")


def only(verdict: Verdict) -> Any:
    assert len(verdict.rows) == 1
    return verdict.rows[0]


@pytest.mark.parametrize(
    ("right", "decision"), [(700, NO_GO), (799, NO_GO), (800, INCONCLUSIVE), (815, INCONCLUSIVE), (900, GO)]
)
def test_a_bar_is_met_only_when_the_whole_interval_is_above_it(
    measured: Any, right: int, decision: Decision
) -> None:
    verdict = judge(spec(min=0.8), measured(all=(right, 1000)), None)
    assert only(verdict).decision is decision and verdict.decision is decision
    assert only(verdict).got == right / 1000 and only(verdict).bar == 0.8


def test_too_few_items_decide_nothing_whatever_they_say(measured: Any) -> None:
    assert only(judge(spec(min=0.5), measured(all=(99, 99)), None)).decision is INCONCLUSIVE
    assert only(judge(spec(min=0.5, min_items=50), measured(all=(99, 99)), None)).decision is GO


def test_a_bad_slice_stops_a_model_that_is_good_overall(measured: Any) -> None:
    found = measured(old=(950, 1000), new=(20, 200))
    verdict = judge(spec(min=0.7, slices={"old": {"min": 0.9}, "new": {"min": 0.5}}), found, None)
    assert [row.decision for row in verdict.rows] == [GO, GO, NO_GO] and verdict.decision is NO_GO
    assert verdict.rows[2].name == "exact_match on new" and verdict.rows[2].message == "10.0% is below 50.0%"


def test_an_empty_slice_is_inconclusive(measured: Any) -> None:
    found = measured(old=(950, 1000), new=(0, 0))
    row = only(judge(spec(slices={"new": {"min": 0.5}}), found, None))
    assert row.decision is INCONCLUSIVE and row.n == 0 and row.got is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min": 0.5, "metric": "exact_mach"}, "unknown metric 'exact_mach'.*Did you mean 'exact_match'"),
        ({"slices": {"od": {"min": 0.5}}}, "slice 'od' is not in the report.*Did you mean 'old'"),
        ({"slices": {"old": {}}}, "needs `min` or `max_drop`"),
        ({"slices": {"old": {"max_drop": 0.1}}}, "needs `against: stable`"),
        ({}, "no criteria"),
        ({"min": 0.5, "suite": "banking77"}, "judges suite 'banking77'"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_refused_by_name(
    measured: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(AskError, match=message):
        judge(spec(**fields), measured(old=(1, 2), new=(1, 2)), None)


def test_without_a_stable_release_nothing_is_compared_and_that_is_said(measured: Any) -> None:
    verdict = judge(
        spec(against="stable", slices={"old": {"max_drop": 0.03}}), measured(old=(900, 1000)), None
    )
    assert [row.decision for row in verdict.rows] == [GO, GO]
    assert all(row.message == "no stable release yet: not compared" for row in verdict.rows)


def test_a_stable_release_without_a_report_is_inconclusive_and_names_the_command(measured: Any) -> None:
    for report in (None, measured(old=(900, 1000), digest="e" * 64)):
        row = only(judge(spec(against="stable"), measured(old=(900, 1000)), incumbent(report)))
        assert row.decision is INCONCLUSIVE
        assert "opswright evaluate model=bundle:b suite=clinc150" in row.message


def test_a_model_that_forgot_is_no_go_against_stable(measured: Any) -> None:
    before, now = measured(old=(900, 1000), new=(0, 250)), measured(old=(100, 1000), new=(200, 250))
    verdict = judge(spec(against="stable", slices={"old": {"max_drop": 0.03}}), now, incumbent(before))
    overall, drop = verdict.rows
    assert verdict.decision is NO_GO and overall.decision is NO_GO and drop.decision is NO_GO
    assert overall.p_value is not None and overall.p_value < 1e-6 and overall.got == pytest.approx(-0.48)
    assert "800 were right before and are wrong now, 200 the reverse" in overall.message
    assert drop.got == pytest.approx(0.8) and drop.bar == 0.03


def test_a_model_that_learned_without_forgetting_is_go(measured: Any) -> None:
    before, now = measured(old=(900, 1000), new=(0, 250)), measured(old=(895, 1000), new=(210, 250))
    verdict = judge(spec(against="stable", slices={"old": {"max_drop": 0.03}}), now, incumbent(before))
    assert verdict.decision is GO and "significantly better" in verdict.rows[0].message


def test_a_small_loss_that_chance_explains_is_not_held_against_a_model(measured: Any) -> None:
    row = only(judge(spec(against="stable"), measured(old=(897, 1000)), incumbent(measured(old=(900, 1000)))))
    assert row.decision is GO and "not significantly worse" in row.message and row.p_value == 0.25


def test_alpha_decides_what_counts_as_significant(measured: Any) -> None:
    before, now = measured(old=(900, 1000)), measured(old=(893, 1000))  # 7 lost, none won: p = 0.016
    assert only(judge(spec(against="stable"), now, incumbent(before))).decision is NO_GO
    assert only(judge(spec(against="stable", alpha=0.01), now, incumbent(before))).decision is GO


def test_a_drop_within_its_limit_but_not_surely_is_inconclusive(measured: Any) -> None:
    before, now = measured(old=(900, 1000)), measured(old=(875, 1000))
    drop = judge(
        spec(against="stable", slices={"old": {"max_drop": 0.03}}, alpha=1e-9), now, incumbent(before)
    ).rows[1]
    assert drop.decision is INCONCLUSIVE and drop.got == pytest.approx(0.025)
    assert drop.interval is not None and drop.interval[1] > 0.03


def test_only_items_that_both_models_answered_are_compared(measured: Any) -> None:
    before = measured(old=(900, 1000))
    part = EvalResult("bundle:b", before.suite, before.suite_digest, before.slices, before.items[800:])
    row = only(judge(spec(against="stable"), measured(old=(1000, 1000)), incumbent(part)))
    assert row.n == 200 and row.decision is GO
    few = EvalResult("bundle:b", before.suite, before.suite_digest, before.slices, before.items[:50])
    row = only(judge(spec(against="stable"), measured(old=(0, 1000)), incumbent(few)))
    assert row.n == 50 and row.decision is INCONCLUSIVE


def test_items_that_failed_or_leaked_make_a_good_score_inconclusive(measured: Any) -> None:
    from dataclasses import replace

    found = measured(old=(950, 1000))
    failed = replace(
        found, items=(replace(found.items[0], scores={}, got=None, error="HTTP 500"), *found.items[1:])
    )
    verdict = judge(spec(min=0.8), failed, None)
    assert verdict.decision is INCONCLUSIVE and verdict.rows[0].name == "errors"
    verdict = judge(spec(min=0.8), measured(old=(950, 1000), leaked=3), None)
    assert verdict.decision is INCONCLUSIVE and verdict.rows[0].name == "leaked items"


def test_two_runs_of_one_model_are_rarely_called_worse(measured: Any) -> None:
    """A/A: two draws of the same 85 % model; an exact test at 5 % may say NO_GO at most 5 times in 100."""
    import random

    from opswright.evals.runner import SampleResult

    def draw() -> EvalResult:
        items = tuple(
            SampleResult(f"i{i:04d}", "t", "a", "a", {"exact_match": float(random.random() < 0.85)}, ("old",))
            for i in range(200)
        )
        return EvalResult("checkpoint:a", "clinc150", "d" * 64, ("old",), items)

    random.seed(3)
    bad = sum(judge(spec(against="stable"), draw(), incumbent(draw())).decision is NO_GO for _ in range(200))
    assert bad / 200 <= 0.05
