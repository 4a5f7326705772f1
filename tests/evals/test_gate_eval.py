from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.core.gate import Decision, GateSpec, Verdict
from opswright.evals.gate_eval import GateEvidence, Incumbent, judge
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
    ("right", "decision"),
    [(700, NO_GO), (778, NO_GO), (779, INCONCLUSIVE), (799, INCONCLUSIVE), (821, INCONCLUSIVE), (822, GO)],
)
def test_a_bar_is_met_or_missed_only_when_the_exact_test_shows_it(
    measured: Any, right: int, decision: Decision
) -> None:
    verdict = judge(spec(min=0.8), measured(all=(right, 1000)), None)
    row = only(verdict)
    assert row.decision is decision and verdict.decision is decision
    assert row.got == right / 1000 and row.bar == 0.8 and row.level == pytest.approx(0.9)
    low, high = row.interval
    assert (low >= 0.8) is (decision is GO) and (high <= 0.8) is (decision is NO_GO)


def test_what_is_undecided_says_how_many_items_would_decide(measured: Any) -> None:
    row = only(judge(spec(min=0.8), measured(all=(169, 200)), None))
    assert row.decision is INCONCLUSIVE and "about" in row.message and "would decide" in row.message
    row = only(judge(spec(min=0.8), measured(all=(160, 200)), None))
    assert "not by more items" in row.message


def test_fewer_items_than_the_gate_wants_decide_nothing_whatever_they_say(measured: Any) -> None:
    assert only(judge(spec(min=0.5, min_items=100), measured(all=(99, 99)), None)).decision is INCONCLUSIVE
    assert only(judge(spec(min=0.5), measured(all=(99, 99)), None)).decision is GO
    assert only(judge(spec(min=0.5, min_items=100), measured(all=(0, 99)), None)).decision is INCONCLUSIVE


def test_a_bad_slice_stops_a_model_that_is_good_overall(measured: Any) -> None:
    found = measured(old=(950, 1000), new=(20, 200))
    verdict = judge(spec(min=0.7, slices={"old": {"min": 0.9}, "new": {"min": 0.5}}), found, None)
    assert [row.decision for row in verdict.rows] == [GO, GO, NO_GO] and verdict.decision is NO_GO
    assert (
        verdict.rows[2].name == "exact_match on new" and "shown to be below 50.0%" in verdict.rows[2].message
    )


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
        ({"max_drop": 0.05}, "needs `against: stable`"),
        ({}, "no criteria"),
        ({"min": 1.0}, "`min` of 1 can never be shown"),
        ({"min": 0.0}, "`min` of 0 says nothing"),
        ({"against": "stable", "max_drop": 0.0}, "met by a model as good as stable only by luck"),
        ({"against": "stable", "slices": {"old": {"max_drop": 1.0}}}, "every model has it"),
        ({"min": 0.5, "tier": "supporting"}, "no criterion of the gate is critical"),
        ({"min": 0.5, "suite": "banking77"}, "judges suite 'banking77'"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_refused_by_name(
    measured: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(AskError, match=message):
        judge(spec(**fields), measured(old=(1, 2), new=(1, 2)), None)


def test_without_a_stable_release_nothing_is_compared_and_that_is_said(measured: Any) -> None:
    compared = {"against": "stable", "slices": {"old": {"max_drop": 0.03}}}
    verdict = judge(spec(min=0.8, **compared), measured(old=(900, 1000)), None)
    assert verdict.decision is GO and [row.name for row in verdict.rows] == ["exact_match"]
    assert verdict.notes[0] == "no stable release yet: nothing was compared"
    assert verdict.notes[1].startswith("leaked items were not looked for")
    assert not judge(spec(min=0.8), measured(old=(900, 1000), leaked=0), None).notes
    verdict = judge(spec(**compared), measured(old=(900, 1000)), None)
    assert verdict.decision is INCONCLUSIVE and "nothing was shown" in verdict.notes[1]


def test_a_stable_release_without_a_report_is_inconclusive_and_names_the_command(measured: Any) -> None:
    for report in (None, measured(old=(900, 1000), digest="e" * 64)):
        verdict = judge(
            spec(against="stable", tier="supporting", min=0.5, slices={"old": {"max_drop": 0.03}}),
            measured(old=(900, 1000)),
            incumbent(report),
        )
        _, overall, drop = verdict.rows
        assert verdict.decision is INCONCLUSIVE and overall.tier == "supporting" and drop.tier == "critical"
        assert "opswright evaluate model=bundle:b suite=clinc150" in drop.message


def test_a_model_that_forgot_is_no_go_against_stable(measured: Any) -> None:
    before, now = measured(old=(900, 1000), new=(0, 250)), measured(old=(100, 1000), new=(200, 250))
    verdict = judge(spec(against="stable", slices={"old": {"max_drop": 0.03}}), now, incumbent(before))
    overall, drop = verdict.rows
    assert verdict.decision is NO_GO and overall.decision is NO_GO and drop.decision is NO_GO
    assert overall.p_nogo is not None and overall.p_nogo < 1e-6 and overall.got == pytest.approx(0.48)
    assert "800 were right before and are wrong now, 200 the reverse" in overall.message
    assert drop.got == pytest.approx(0.8) and drop.bar == 0.03 and drop.in_words(drop.got) == "80.0 points"


def test_a_model_that_learned_without_forgetting_is_go(measured: Any) -> None:
    before, now = measured(old=(900, 1000), new=(0, 250)), measured(old=(895, 1000), new=(210, 250))
    verdict = judge(spec(against="stable", slices={"old": {"max_drop": 0.03}}), now, incumbent(before))
    assert verdict.decision is GO and [row.decision for row in verdict.rows] == [GO, GO]


def test_a_comparison_without_a_margin_has_the_default_one_and_says_so(measured: Any) -> None:
    before = measured(old=(900, 1000))
    row = only(judge(spec(against="stable"), measured(old=(897, 1000)), incumbent(before)))
    assert row.decision is GO and row.bar == 0.05 and "the default margin of 5 points" in row.message
    row = only(judge(spec(against="stable", max_drop=0.1), measured(old=(897, 1000)), incumbent(before)))
    assert row.bar == 0.1 and "default" not in row.message


def test_a_loss_that_is_not_shown_to_be_small_is_not_go(measured: Any) -> None:
    """Five of 100 lost, none won: no test calls that worse, and it may well be ten."""
    row = only(judge(spec(against="stable"), measured(old=(85, 100)), incumbent(measured(old=(90, 100)))))
    assert row.decision is INCONCLUSIVE and row.interval[1] > 0.05


def test_alpha_is_shared_by_the_looks_that_are_planned(measured: Any) -> None:
    found = measured(all=(825, 1000))  # p = 0.025 for a bar of 0.8
    assert only(judge(spec(min=0.8), found, None)).decision is GO
    two = judge(spec(min=0.8, looks=2), found, None)
    assert only(two).decision is GO and only(two).level == pytest.approx(0.95)
    five = judge(spec(min=0.8, looks=5), found, None)
    assert only(five).decision is INCONCLUSIVE and "each has alpha 0.01" in five.notes[0]


def test_no_go_is_corrected_for_the_number_of_rows_and_go_is_not(measured: Any) -> None:
    slices = {f"s{i}": (90, 100) for i in range(9)} | {"odd": (83, 100)}
    bars = {name: {"min": 0.9 if name == "odd" else 0.8} for name in slices}
    rows = judge(spec(slices=bars), measured(**slices), None).rows
    assert 0.005 < (rows[-1].p_nogo or 0) <= 0.05 and rows[-1].decision is INCONCLUSIVE
    assert all(row.decision is GO and 0.005 < (row.p_go or 0) <= 0.05 for row in rows[:-1])
    alone = only(judge(spec(slices={"odd": {"min": 0.9}}), measured(**slices), None))
    assert alone.decision is NO_GO


def test_only_items_that_both_models_were_asked_are_compared(measured: Any) -> None:
    before = measured(old=(900, 1000))
    part = EvalResult("bundle:b", before.suite, before.suite_digest, before.slices, before.items[800:])
    row = only(judge(spec(against="stable"), measured(old=(1000, 1000)), incumbent(part)))
    assert row.n == 200 and row.decision is GO
    few = EvalResult("bundle:b", before.suite, before.suite_digest, before.slices, before.items[:10])
    row = only(judge(spec(against="stable"), measured(old=(0, 1000)), incumbent(few)))
    assert row.n == 10 and row.decision is INCONCLUSIVE
    none = EvalResult("bundle:b", before.suite, before.suite_digest, before.slices, ())
    assert only(judge(spec(against="stable"), before, incumbent(none))).n == 0


def unanswered(found: EvalResult, many: int, last: bool = False) -> EvalResult:
    """The result with some items that got no answer."""
    items = list(found.items)
    for place in range(len(items) - many, len(items)) if last else range(many):
        items[place] = replace(items[place], scores={}, got=None, error="HTTP 500")
    return replace(found, items=tuple(items))


def test_an_item_without_an_answer_counts_against_go_and_against_no_go(measured: Any) -> None:
    few = judge(spec(min=0.8), unanswered(measured(old=(950, 1000)), 10), None)
    assert few.decision is GO and only(few).got == 0.94
    assert "10 without an answer" in only(few).message and "10 of 1000 items got no answer" in few.notes[0]
    many = judge(spec(min=0.8), unanswered(measured(old=(950, 1000)), 300), None)
    assert many.decision is INCONCLUSIVE  # 65 % at worst, 95 % at best
    wrong = judge(spec(min=0.8), unanswered(measured(old=(500, 1000)), 400, last=True), None)
    assert wrong.decision is INCONCLUSIVE  # 50 % at worst, 90 % at best


def test_an_answer_that_stable_did_not_give_is_held_against_the_new_model(measured: Any) -> None:
    before = unanswered(measured(old=(900, 1000)), 100, last=True)
    row = only(judge(spec(against="stable"), measured(old=(900, 1000)), incumbent(before)))
    assert row.decision is INCONCLUSIVE and row.got == pytest.approx(0.1)


def test_leaked_items_hold_the_verdict_unless_the_gate_leaves_them_out(measured: Any) -> None:
    found = measured(old=(950, 1000), leaked=3)
    verdict = judge(spec(min=0.8), found, None)
    assert verdict.decision is INCONCLUSIVE and verdict.rows[0].name == "leaked items"
    assert verdict.rows[0].in_words(verdict.rows[0].got) == "3"
    known = GateEvidence(leaked=frozenset(item.id for item in found.items[:3]))
    verdict = judge(spec(min=0.8, leaked="leave_out"), found, None, known)
    assert verdict.decision is GO and only(verdict).n == 997
    assert "3 items that are in training rows were left out" in verdict.notes[0]
    verdict = judge(spec(min=0.8, leaked="leave_out"), found, None)
    assert verdict.decision is INCONCLUSIVE and "of 3 it is not known" in verdict.rows[0].message
    some = GateEvidence(leaked=frozenset(item.id for item in found.items[:2]))
    verdict = judge(spec(min=0.8, leaked="leave_out"), found, None, some)
    assert verdict.decision is INCONCLUSIVE and "of 1 it is not known" in verdict.rows[0].message


def test_leaked_items_are_left_out_on_both_sides(measured: Any) -> None:
    before, now = measured(old=(900, 1000)), measured(old=(900, 1000))
    known = GateEvidence(leaked=frozenset(item.id for item in now.items[:500]))
    row = only(judge(spec(against="stable", leaked="leave_out"), now, incumbent(before), known))
    assert row.n == 500


def test_failures_that_are_put_into_one_group_do_not_vanish(measured: Any) -> None:
    found = measured(all=(140, 200))
    hidden = tuple(
        replace(item, group="rest" if item.scores["exact_match"] == 0 else f"g{n}")
        for n, item in enumerate(found.items)
    )
    row = judge(spec(min=0.9), replace(found, items=hidden), None).rows[0]
    assert row.decision is INCONCLUSIVE and row.got is not None and row.got > 0.99
    assert "70.0 with every item: what fails is in few large groups" in row.message
    even = tuple(replace(item, group=f"g{n // 2}") for n, item in enumerate(found.items))
    assert judge(spec(min=0.6), replace(found, items=even), None).rows[0].decision is GO


def test_losses_that_are_put_into_one_group_do_not_vanish(measured: Any) -> None:
    before, now = measured(all=(200, 200)), measured(all=(140, 200))

    def grouped(one: Any) -> Any:
        lost = {item.id for item in now.items if item.scores["exact_match"] == 0}
        return replace(
            one,
            items=tuple(
                replace(item, group="rest" if item.id in lost else f"g{n}")
                for n, item in enumerate(one.items)
            ),
        )

    verdict = judge(spec(against="stable", max_drop=0.05), grouped(now), incumbent(grouped(before)))
    row = verdict.rows[0]
    assert row.decision is INCONCLUSIVE and "30.0 with every item" in row.message


def test_items_of_one_group_are_one_observation(measured: Any) -> None:
    """A hundred items in five talks: a model that fails one talk is not shown good by the other eighty."""
    found = measured(old=(80, 100))
    talks = tuple(replace(item, group=f"talk-{i // 20}") for i, item in enumerate(found.items))
    alone = only(judge(spec(min=0.7), found, None))
    row = only(judge(spec(min=0.7, min_items=5), replace(found, items=talks), None))
    assert alone.decision is GO and alone.n == 100
    assert row.decision is INCONCLUSIVE and row.n == 5 and "5 groups of 100 items" in row.message
    few = only(judge(spec(min=0.7), replace(found, items=talks), None))
    assert few.decision is INCONCLUSIVE and few.n == 5  # the gate wants 20 observations


def test_scores_between_right_and_wrong_are_judged_by_their_mean(measured: Any) -> None:
    def graded(shift: float) -> EvalResult:
        found = measured(old=(0, 300))
        scores = [min(max(0.7 + shift + 0.2 * ((i * 37 % 101) / 50 - 1), 0), 1) for i in range(300)]
        items = (replace(i, scores={"f1": s}) for i, s in zip(found.items, scores, strict=True))
        made: EvalResult = replace(found, items=tuple(items), scorers={"f1": False})
        return made

    gate = {"metric": "f1", "against": "stable", "max_drop": 0.05}
    assert judge(spec(min=0.6, **gate), graded(0.0), incumbent(graded(0.0))).decision is GO
    bad = judge(spec(min=0.6, **gate), graded(-0.2), incumbent(graded(0.0)))
    assert [row.decision for row in bad.rows] == [NO_GO, NO_GO] and bad.rows[1].got == pytest.approx(0.2)
    assert bad.rows[0].got == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("score", [3.2, -0.1])
def test_a_score_that_is_no_share_is_refused_and_one_that_is_no_number_is_missing(
    measured: Any, score: float
) -> None:
    found = measured(old=(90, 100))
    odd = replace(found.items[0], scores={"exact_match": score})
    with pytest.raises(AskError, match="a gate judges scores from 0 to 1"):
        judge(spec(min=0.5), replace(found, items=(odd, *found.items[1:])), None)
    nan = replace(found.items[0], scores={"exact_match": float("nan")})
    row = only(judge(spec(min=0.5), replace(found, items=(nan, *found.items[1:])), None))
    assert row.got == 0.89 and "1 without an answer" in row.message


def test_an_item_that_is_there_twice_is_refused(measured: Any) -> None:
    found = measured(old=(90, 100))
    twice = replace(found, items=(*found.items, found.items[0]))
    with pytest.raises(AskError, match="holds 1 items more than once"):
        judge(spec(min=0.5), twice, None)
    with pytest.raises(AskError, match="holds 1 items more than once"):
        judge(spec(against="stable"), found, incumbent(twice))


def test_a_report_without_items_decides_nothing(measured: Any) -> None:
    empty = replace(measured(old=(1, 1)), items=())
    assert only(judge(spec(min=0.5), empty, None)).decision is INCONCLUSIVE
