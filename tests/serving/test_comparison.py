"""What a canary must hold: measured on probes that both answer, and on what their traffic showed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from opswright.core.gate import Check, Decision
from opswright.serving.canary.evidence import CanaryEvidence, p95
from opswright.serving.canary.judgement import Bars
from opswright.serving.fleet import ProbeReply
from opswright.serving.gateway.traffic_log import Status, TrafficRow
from opswright.serving.probes import Probe
from opswright.serving.rollout.comparison import compare

CANARY, STABLE = "v2-canary", "v1-stable"
PERCENT = 10
Ask = Callable[[str | Probe, str], ProbeReply]


def rows(
    release: str, n: int, latency_ms: float = 5.0, failed: int = 0, status: Status = "error", finish: str = ""
) -> list[TrafficRow]:
    def row(number: int) -> TrafficRow:
        return TrafficRow(
            time="2026-01-01T00:00:00.000Z",
            id=str(number),
            release=release,
            route="canary" if release == CANARY else "stable",
            text="question",
            output="answer",
            status=status if number < failed else "ok",
            rail=None,
            latency_ms=latency_ms + number % 3,
            model_version=1,
            finish=finish if number < failed else "stop",
            canary_percent=PERCENT,
        )

    return [row(number) for number in range(n)]


def seen(traffic: Sequence[TrafficRow], before: int = 200) -> CanaryEvidence:
    """The evidence of traffic, mixed as it comes, with a budget from what stable answered before."""
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, before))
    for number in sorted(range(len(traffic)), key=lambda n: (n * 7919) % 10007):
        found.add(traffic[number])
    return found


def answering(canary_ms: float = 5.0, stable_ms: float = 5.0) -> Ask:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "answer", canary_ms if release == CANARY else stable_ms)

    return ask


def judge(
    traffic: Sequence[TrafficRow], probes: int = 30, ask: Ask | None = None, bars: Bars | None = None
) -> tuple[Decision, dict[str, Check]]:
    texts = [f"question {n}" for n in range(probes)]
    verdict = compare(seen(traffic), texts, ask or answering(), bars or Bars())
    return verdict.decision, {row.name: row for row in verdict.rows}


def test_a_healthy_canary_holds_and_what_its_requests_cannot_show_is_said() -> None:
    decision, found = judge(rows(CANARY, 100) + rows(STABLE, 900))
    assert decision is Decision.GO
    assert set(found) == {
        "probes", "errors", "blocks", "slow answers", "invalid answers", "agreement with stable",
        "requests",
    }  # fmt: skip
    assert not [row for row in found.values() if row.decision is Decision.NO_GO]
    few = judge(rows(CANARY, 3) + rows(STABLE, 27))[1]["errors"]
    assert few.decision is Decision.INCONCLUSIVE
    assert "33 requests are few: up to 9% would look the same" in few.message


def test_a_healthy_canary_with_some_failures_is_not_refused() -> None:
    decision, found = judge(rows(CANARY, 100, failed=2) + rows(STABLE, 900, failed=9))
    assert (decision, found["errors"].decision) == (Decision.GO, Decision.INCONCLUSIVE)


def test_a_canary_that_fails_more_often_than_stable_does_not_hold() -> None:
    decision, found = judge(rows(CANARY, 100, failed=8) + rows(STABLE, 900, failed=3))
    assert (decision, found["errors"].decision) == (Decision.NO_GO, Decision.NO_GO)
    assert found["errors"].message == "8 of the canary's 130 requests, 3 of stable's 930"
    same = judge(rows(CANARY, 200, failed=10) + rows(STABLE, 1800, failed=90))
    assert same[0] is Decision.GO


def test_a_canary_whose_rails_block_does_not_hold() -> None:
    traffic = rows(CANARY, 20, failed=12, status="blocked") + rows(STABLE, 180, failed=4, status="blocked")
    decision, found = judge(traffic)
    assert (decision, found["blocks"].decision) == (Decision.NO_GO, Decision.NO_GO)


@pytest.mark.parametrize("finish", ["error: AskError", "error: PromptError"])
def test_what_callers_got_wrong_is_held_against_neither(finish: str) -> None:
    decision, found = judge(rows(CANARY, 100, failed=50, finish=finish) + rows(STABLE, 100), probes=30)
    assert (decision, found["errors"].n, found["errors"].got) == (Decision.GO, 80, 0.0)


def test_a_caller_counts_once_however_often_their_request_fails() -> None:
    one = [TrafficRow(**{**vars(row), "session": "a"}) for row in rows(CANARY, 60, failed=60)]
    assert judge(one + rows(STABLE, 500))[0] is Decision.GO
    many = [TrafficRow(**{**vars(row), "session": row.id}) for row in one]
    assert judge(many + rows(STABLE, 500))[0] is Decision.NO_GO


def test_a_canary_that_slows_down_does_not_hold() -> None:
    assert judge(rows(CANARY, 20, latency_ms=305) + rows(STABLE, 180))[0] is Decision.NO_GO
    decision, found = judge([], ask=answering(canary_ms=40))
    assert (decision, found["slow answers"].decision) == (Decision.NO_GO, Decision.NO_GO)


def test_a_difference_of_a_few_milliseconds_is_not_called_slower() -> None:
    assert judge([], ask=answering(canary_ms=4, stable_ms=2))[0] is Decision.GO


def test_without_history_stables_first_answers_are_the_budget() -> None:
    found = seen(rows(STABLE, 500) + rows(CANARY, 60, latency_ms=305), before=0)
    assert found.budget_ms is not None and 10 < found.budget_ms < 20
    assert found.met("slow answers")[0][0] > 40


def test_a_canary_with_other_answers_does_not_hold_unless_that_is_allowed() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "yes" if release == CANARY else "no", 5.0)

    decision, found = judge([], probes=8, ask=ask)
    assert (decision, found["agreement with stable"].got) == (Decision.NO_GO, 0.0)
    assert judge([], probes=8, ask=ask, bars=Bars(max_disagreement=1.0))[0] is Decision.GO


def test_a_canary_that_answers_with_garbage_does_not_hold() -> None:
    garbage = [TrafficRow(**{**vars(row), "output": "\ufffd\ufffd"}) for row in rows(CANARY, 20)]
    decision, found = judge(garbage + rows(STABLE, 180))
    assert (decision, found["invalid answers"].decision) == (Decision.NO_GO, Decision.NO_GO)


def test_less_traffic_than_asked_for_is_inconclusive() -> None:
    asked = Bars(min_requests=50)
    assert judge(rows(CANARY, 49), bars=asked)[0] is Decision.INCONCLUSIVE
    assert judge(rows(CANARY, 50), bars=asked)[0] is Decision.GO


def test_without_a_single_probe_nothing_was_shown() -> None:
    assert judge(rows(CANARY, 100) + rows(STABLE, 100), probes=0)[0] is Decision.NO_GO


def test_a_probe_that_neither_can_answer_is_at_fault_itself() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        bad = Probe.of(asked).text == "question 3"
        return ProbeReply(500 if bad else 200, "" if bad else release, "", "answer", 5.0)

    decision, found = judge([], ask=ask)
    assert (decision, found["errors"].got) == (Decision.GO, 0.0)


def test_a_canary_that_fails_once_still_answers_and_one_that_never_does_does_not() -> None:
    calls = count()

    def once(asked: str | Probe, release: str) -> ProbeReply:
        fails = release == CANARY and next(calls) == 5
        return ProbeReply(500 if fails else 200, "" if fails else release, "", "answer", 5.0)

    def never(asked: str | Probe, release: str) -> ProbeReply:
        fails = release == CANARY and Probe.of(asked).text == "question 3"
        return ProbeReply(500 if fails else 200, "" if fails else release, "", "answer", 5.0)

    assert judge([], ask=once)[0] is Decision.GO
    decision, found = judge([], ask=never)
    assert (decision, found["probes"].decision) == (Decision.NO_GO, Decision.NO_GO)


def test_the_95th_percentile_is_the_nearest_rank() -> None:
    assert p95([float(n) for n in range(1, 101)]) == 96.0
    assert p95([7.0]) == 7.0


def scored(texts: int, right: Callable[[str], bool]) -> list[Probe]:
    """Probes whose answers are worth 1 when they are right."""
    said = ({"role": "user", "content": f"question {n}"} for n in range(texts))
    return [Probe((one,), score=lambda answer: float(right(answer))) for one in said]


def golden(n: int, ask: Ask, worth: Callable[[str], bool] = lambda answer: answer == "right") -> Check:
    verdict = compare(seen([]), scored(n, worth), ask, Bars())
    row = next(row for row in verdict.rows if row.name == "golden sample")
    assert verdict.decision is row.decision
    return row


def test_a_canary_whose_answers_are_worth_less_does_not_hold() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "wrong" if release == CANARY else "right", 5.0)

    row = golden(50, ask)
    assert (row.decision, row.got, row.n) == (Decision.NO_GO, 1.0, 50)
    assert row.message == "the canary's answers score 0.0%, stable's 100.0%"


def test_a_canary_that_answers_as_well_as_stable_holds_and_chance_is_no_fault() -> None:
    asked_before: list[str] = []

    def ask(asked: str | Probe, release: str) -> ProbeReply:
        asked_before.append(Probe.of(asked).text)
        wrong = release == CANARY and len(asked_before) < 5
        return ProbeReply(200, release, "", "wrong" if wrong else "right", 5.0)

    row = golden(50, ask)
    assert (row.decision, row.got) == (Decision.GO, 0.04)


def test_a_golden_sample_too_small_to_show_a_large_drop_decides_nothing() -> None:
    row = golden(5, lambda asked, release: ProbeReply(200, release, "", "right", 5.0))
    assert row.decision is Decision.INCONCLUSIVE
    assert "5 items are too few to tell that it is not 20 points worse" in row.message


def test_a_better_canary_may_answer_otherwise_as_often_as_on_the_golden_sample() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        new = int(Probe.of(asked).text.split()[-1]) % 3
        said = "right" if release == CANARY or not new else "wrong"
        return ProbeReply(200, release, "", said, 5.0)

    probes = scored(60, lambda answer: answer == "right")
    texts = [f"question {n}" for n in range(60)]
    assert compare(seen([]), [*texts, *probes], ask, Bars()).decision is Decision.GO
    assert compare(seen([]), texts, ask, Bars()).decision is Decision.NO_GO  # nothing says who is right


def test_graded_answers_are_compared_by_their_means() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "0.2" if release == CANARY else "0.8", 5.0)

    probes = [Probe(({"role": "user", "content": str(n)},), score=float) for n in range(30)]
    row = next(r for r in compare(seen([]), probes, ask, Bars()).rows if r.name == "golden sample")
    assert row.decision is Decision.NO_GO and row.got is not None and abs(row.got - 0.6) < 1e-9
