"""What makes a GO empty, what only informs, and the criteria that are no bars of the suite itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.gate import Check, Decision, GateSpec, Verdict, decision_of
from opswright.evals.contamination import MatchKind
from opswright.evals.gate_eval import GateEvidence, Incumbent, judge
from opswright.evals.gate_rows import RequiredReport
from opswright.evals.runner import EvalResult

GO, NO_GO, INCONCLUSIVE = Decision.GO, Decision.NO_GO, Decision.INCONCLUSIVE


def spec(**fields: Any) -> GateSpec:
    return GateSpec.model_validate({"suite": "clinc150", **fields})


def stable(report: EvalResult) -> Incumbent:
    return Incumbent("chat-3", report, "opswright evaluate model=bundle:b suite=clinc150")


def named(verdict: Verdict, name: str) -> Check:
    return next(row for row in verdict.rows if row.name == name)


def test_two_models_without_a_right_answer_are_not_go(measured: Any) -> None:
    verdict = judge(spec(against="stable"), measured(all=(0, 500)), stable(measured(all=(0, 500))))
    assert verdict.decision is INCONCLUSIVE
    assert (
        "stable itself has 0.0% here" in verdict.rows[0].message and "Set a `min`" in verdict.rows[0].message
    )


def test_a_margin_above_half_of_what_stable_has_shows_nothing(measured: Any) -> None:
    before = measured(all=(80, 1000))
    assert judge(spec(against="stable"), before, stable(before)).decision is INCONCLUSIVE  # 5 points of 8
    assert judge(spec(against="stable", max_drop=0.04), before, stable(before)).decision is GO
    risen = judge(spec(against="stable"), measured(all=(700, 1000)), stable(before))
    assert risen.decision is GO  # a rise needs no margin
    fallen = judge(spec(against="stable"), measured(all=(0, 1000)), stable(before))
    assert fallen.decision is NO_GO


def test_the_trivial_baselines_lead_counts_for_the_margin_over_all_items(measured: Any) -> None:
    before, trivial = measured(all=(780, 1000)), measured(model="majority", all=(720, 1000))
    verdict = judge(spec(against="stable"), before, stable(before), GateEvidence(trivial=trivial))
    row = named(verdict, "drop of exact_match")
    assert row.decision is INCONCLUSIVE and "the trivial baseline majority (72.0%)" in row.message
    assert "at most 3 points" in row.message


def test_a_model_that_is_not_shown_better_than_the_trivial_baseline_is_not_go(measured: Any) -> None:
    now = measured(all=(730, 1000))
    level = judge(spec(min=0.5), now, None, GateEvidence(trivial=measured(model="majority", all=(728, 1000))))
    assert level.decision is INCONCLUSIVE
    row = named(level, "better than majority")
    assert row.decision is INCONCLUSIVE and "not shown to be better" in row.message
    beaten = judge(
        spec(min=0.5), now, None, GateEvidence(trivial=measured(model="majority", all=(700, 1000)))
    )
    assert beaten.decision is GO
    worse = judge(spec(min=0.5), now, None, GateEvidence(trivial=measured(model="majority", all=(990, 1000))))
    assert worse.decision is INCONCLUSIVE


def test_a_trivial_baseline_without_scores_by_the_metric_is_not_compared(measured: Any) -> None:
    found = measured(all=(900, 1000))
    items = tuple(replace(item, scores={"f1": 0.9}) for item in found.items)
    graded = replace(found, items=items, scorers={"f1": False})
    verdict = judge(spec(min=0.5, metric="f1"), graded, None, GateEvidence(trivial=found))
    assert [row.name for row in verdict.rows] == ["f1"]


def test_a_suite_that_asks_for_nothing_that_was_trained_is_not_go(measured: Any) -> None:
    found = measured(all=(900, 1000))
    none = judge(spec(min=0.5), found, None, GateEvidence(answers_trained=(0, 77)))
    assert none.decision is INCONCLUSIVE and "none of the suite's 77 right answers" in none.rows[0].message
    assert judge(spec(min=0.5), found, None, GateEvidence(answers_trained=(1, 77))).decision is GO


def test_a_validation_loss_that_rose_is_not_go(measured: Any) -> None:
    found = measured(all=(900, 1000))
    rose = judge(spec(min=0.5), found, None, GateEvidence(losses=(1.1, 1.4)))
    assert rose.decision is INCONCLUSIVE and "from 1.1 to 1.4" in rose.rows[0].message
    assert judge(spec(min=0.5), found, None, GateEvidence(losses=(1.4, 1.1))).decision is GO


def test_more_looks_than_were_planned_are_not_go(measured: Any) -> None:
    found = measured(all=(900, 1000))
    verdict = judge(spec(min=0.5), found, None, GateEvidence(looks=(200, 500)))
    assert verdict.decision is INCONCLUSIVE and "judged before on 200, 500 items" in verdict.rows[0].message
    assert judge(spec(min=0.5, looks=3), found, None, GateEvidence(looks=(200, 500))).decision is GO
    assert (
        judge(spec(min=0.5), found, None, GateEvidence(looks=(1000,))).decision is GO
    )  # the same items again
    grown = judge(spec(min=0.5), found, None, GateEvidence(looks=(1000,), looks_at_others=(1000,)))
    assert grown.decision is INCONCLUSIVE and "this is look 2" in grown.rows[0].message


def test_better_baselines_and_earlier_candidates_are_said_and_not_judged(measured: Any) -> None:
    known = GateEvidence(better_baselines={"tfidf_svc": 0.93}, shortcuts={"length": 0.91}, candidates=4)
    looped = judge(spec(min=0.5), measured(all=(900, 1000)), None, GateEvidence(own_answers=1200))
    assert looped.notes[0] == "1,200 training rows have answers that our own endpoints gave"
    verdict = judge(spec(min=0.5), measured(all=(900, 1000)), None, known)
    assert verdict.decision is GO
    assert "below the baseline tfidf_svc (93.0%); this is said and not judged" in verdict.notes[0]
    assert "not shown to be better than the shortcut length (91.0%)" in verdict.notes[1]
    assert "4 models were judged on this suite" in verdict.notes[2] and "up to 20%" in verdict.notes[2]


@pytest.mark.parametrize(
    ("tier", "right", "decision"),
    [
        ("critical", 90, NO_GO),
        ("critical", 160, INCONCLUSIVE),
        ("supporting", 90, NO_GO),
        ("supporting", 160, GO),
        ("advisory", 90, GO),
        ("advisory", 160, GO),
    ],
)
def test_a_tier_says_what_a_row_may_do(measured: Any, tier: str, right: int, decision: Decision) -> None:
    """A slice of 200 with a bar of 80 %: 90 right is shown bad, 160 right is shown neither way."""
    found = measured(old=(950, 1000), new=(right, 200))
    verdict = judge(spec(min=0.6, slices={"new": {"min": 0.8, "tier": tier}}), found, None)
    assert verdict.decision is decision
    assert verdict.rows[1].decision is (NO_GO if right == 90 else INCONCLUSIVE)


def test_an_advisory_row_takes_no_power_from_the_others(measured: Any) -> None:
    found = measured(a=(162, 200), b=(199, 200))
    bars: dict[str, dict[str, Any]] = {"a": {"min": 0.86}, "b": {"min": 0.5}}
    assert judge(spec(slices=bars), found, None).decision is INCONCLUSIVE  # p = 0.033 among two
    bars = {**bars, "b": {"min": 0.5, "tier": "advisory"}}
    assert judge(spec(slices=bars), found, None).decision is NO_GO


def test_a_recorded_row_cannot_name_a_tier_that_its_criteria_do_not(measured: Any) -> None:
    rows = [{"decision": "GO"}, {"decision": "NO_GO", "tier": "advisory"}]
    assert decision_of(rows, {"min": 0.5, "tier": "critical"}) is NO_GO
    assert decision_of(rows, {"min": 0.5, "slices": {"new": {"tier": "advisory"}}}) is GO
    assert decision_of([{"decision": "maybe"}]) is INCONCLUSIVE and decision_of([]) is INCONCLUSIVE


def test_a_required_suite_without_a_report_is_no_go_and_names_the_command(measured: Any) -> None:
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}})
    found = measured(model="checkpoint:abc", all=(900, 1000))
    verdict = judge(wanted, found, None, GateEvidence(suites={"safety": ()}))
    assert verdict.decision is NO_GO
    assert "opswright evaluate model=checkpoint:abc suite=safety" in verdict.rows[1].message
    assert judge(wanted, found, None).decision is NO_GO  # nothing known of it is no report either


@pytest.mark.parametrize(("right", "decision"), [(285, GO), (270, INCONCLUSIVE), (240, NO_GO)])
def test_a_required_suite_is_judged_by_its_bar(measured: Any, right: int, decision: Decision) -> None:
    other = measured(all=(right, 300))
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}})
    known = GateEvidence(suites={"safety": [RequiredReport(other)]})
    verdict = judge(wanted, measured(all=(900, 1000)), None, known)
    assert verdict.decision is decision
    typo = spec(min=0.5, suites={"safety": {"min": 0.9, "metric": "exact_mach"}})
    with pytest.raises(AskError, match="Did you mean 'exact_match'"):
        judge(typo, measured(all=(900, 1000)), None, known)
    leaked = GateEvidence(suites={"safety": [RequiredReport(replace(other, leaked=2))]})
    held = judge(wanted, measured(all=(900, 1000)), None, leaked)
    assert held.decision is INCONCLUSIVE and "2 of its items are in" in held.rows[1].message


def test_a_required_suite_whose_items_chose_the_weights_shows_nothing(measured: Any) -> None:
    chose = Counter({MatchKind.VERBATIM: 3})
    known = GateEvidence(suites={"safety": [RequiredReport(measured(all=(300, 300)), chose=chose)]})
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}})
    held = judge(wanted, measured(all=(900, 1000)), None, known)
    assert held.decision is INCONCLUSIVE and "3 of its items decided" in held.rows[1].message


def test_leaked_items_of_a_required_suite_are_left_out_or_hold_the_verdict(measured: Any) -> None:
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}}, leaked="leave_out")
    found, other = measured(all=(900, 1000)), replace(measured(all=(300, 300)), leaked=300)

    def row(leaked: frozenset[str] | None) -> Check:
        report = RequiredReport(other, 300, leaked)
        return judge(wanted, found, None, GateEvidence(suites={"safety": [report]})).rows[1]

    ids = [item.id for item in other.items]
    assert row(None).decision is INCONCLUSIVE and "of 300 it is not known which" in row(None).message
    assert row(frozenset(ids)).decision is INCONCLUSIVE and "only 0 items" in row(frozenset(ids)).message
    other = replace(other, leaked=100)
    some = row(frozenset(ids[:100]))
    assert some.decision is GO and some.n == 200 and "100 of its items" in some.message
    assert row(frozenset(ids[:99])).decision is INCONCLUSIVE


def test_several_suites_of_a_required_name_are_not_go(measured: Any) -> None:
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}})
    easy = RequiredReport(measured(digest="a" * 64, all=(300, 300)))

    def judged(right: int) -> Verdict:
        real = RequiredReport(measured(digest="b" * 64, all=(right, 300)))
        known = GateEvidence(suites={"safety": [easy, real]})
        return judge(wanted, measured(all=(900, 1000)), None, known)

    assert judged(300).decision is INCONCLUSIVE and judged(150).decision is NO_GO
    assert f"({'a' * 12}, {'b' * 12})" in judged(300).rows[1].message


def test_a_report_on_some_items_of_a_required_suite_does_not_do(measured: Any) -> None:
    wanted = spec(min=0.5, suites={"safety": {"min": 0.9}})
    known = GateEvidence(suites={"safety": [RequiredReport(measured(all=(300, 300)), 400)]})
    verdict = judge(wanted, measured(all=(900, 1000)), None, known)
    assert verdict.decision is INCONCLUSIVE and "300 of the suite's 400 items" in verdict.rows[1].message


@pytest.mark.parametrize("text", ["{}", "{}\n", " {} "])
def test_one_question_asked_many_times_is_one_observation(measured: Any, text: str) -> None:
    found = measured(all=(80, 80))
    same = [replace(item, text=text.format("one") if i % 2 else "one") for i, item in enumerate(found.items)]
    row = judge(spec(min=0.5), replace(found, items=tuple(same)), None).rows[0]
    assert row.decision is INCONCLUSIVE and row.n == 1
    assert "1 groups of 80 items (79 ask the same as another)" in row.message
    some = (*found.items[:60], *same[60:])
    row = judge(spec(min=0.5), replace(found, items=some), None).rows[0]
    assert row.decision is GO and row.n == 61 and "19 ask the same" in row.message


def test_the_exact_test_stays_where_the_same_question_has_the_same_score(measured: Any) -> None:
    found = measured(all=(40, 60))
    twice = replace(found, items=(*found.items, *(replace(i, id=f"{i.id}-again") for i in found.items)))
    once, again = (judge(spec(min=0.5), one, None).rows[0] for one in (found, twice))
    assert (again.n, again.p_go, again.interval) == (once.n, once.p_go, once.interval)


def waited(found: EvalResult, slow: int, slow_ms: float = 900.0) -> EvalResult:
    """The result with some answers slow, the others at 100 ms."""
    items = (replace(item, latency_ms=slow_ms if i < slow else 100.0) for i, item in enumerate(found.items))
    return replace(found, items=tuple(items))


@pytest.mark.parametrize(("slow", "decision"), [(20, GO), (50, INCONCLUSIVE), (90, NO_GO)])
def test_latency_is_judged_by_the_share_of_answers_in_time(
    measured: Any, slow: int, decision: Decision
) -> None:
    gate = spec(min=0.5, latency={"max_p95_ms": 300})
    row = named(judge(gate, waited(measured(all=(900, 1000)), slow), None), "p95 latency")
    assert row.decision is decision and row.bar == 300 and row.in_words(row.bar) == "300 ms"
    low, high = row.interval or (0, 0)
    assert (high <= 300) is (decision is GO) and (low > 300) is (decision is NO_GO)


def test_a_report_without_latencies_cannot_be_judged_by_them(measured: Any) -> None:
    gate = spec(min=0.5, latency={"max_p95_ms": 300}, cost={"max_usd_per_1000": 1, "usd_per_hour": 4})
    verdict = judge(gate, measured(all=(900, 1000)), None)
    assert [row.decision for row in verdict.rows] == [GO, INCONCLUSIVE, INCONCLUSIVE]
    few = judge(gate, waited(measured(all=(40, 40)), 0), None)
    assert named(few, "p95 latency").decision is INCONCLUSIVE  # 59 are needed
    assert named(few, "p95 latency").interval is None


@pytest.mark.parametrize(("price", "decision"), [(3.5, GO), (37.0, NO_GO)])
def test_cost_is_what_the_machine_costs_for_as_long_as_answers_take(
    measured: Any, price: float, decision: Decision
) -> None:
    """1,000 answers of 100 ms are 100 s: at $36 an hour $1."""
    gate = spec(min=0.5, cost={"max_usd_per_1000": 1.0, "usd_per_hour": price})
    row = named(judge(gate, waited(measured(all=(900, 1000)), 0), None), "cost of 1,000 answers")
    assert row.decision is decision and row.got == pytest.approx(price / 36) and row.bar == 1.0
    assert row.in_words(row.bar) == "$1"


def test_a_gate_without_a_metric_judges_by_the_suites_first_scorer(measured: Any) -> None:
    found = measured(all=(900, 1000))
    graded = tuple(replace(item, scores={"f1": 0.9, "exact_match": 0.0}) for item in found.items)
    by_f1 = replace(found, items=graded, scorers={"f1": False, "exact_match": True})
    verdict = judge(spec(min=0.8), by_f1, None)
    assert verdict.decision is GO and verdict.rows[0].name == "f1"
    assert judge(spec(min=0.8, metric="exact_match"), by_f1, None).decision is NO_GO
