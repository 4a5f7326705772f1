"""What a canary must hold: measured on probes that both answer, and on its own traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opswright.core.gate import Check, Decision
from opswright.serving.comparison import Bars, compare, p95
from opswright.serving.fleet import ProbeReply
from opswright.serving.gateway.traffic_log import Status, TrafficRow
from opswright.serving.probes import Probe

CANARY, STABLE = "v2-canary", "v1-stable"


def rows(
    release: str, n: int, latency_ms: float = 5.0, failed: int = 0, finish: str = ""
) -> list[TrafficRow]:
    def row(number: int) -> TrafficRow:
        status: Status = "error" if number < failed else "ok"
        return TrafficRow(
            time="2026-01-01T00:00:00.000Z",
            id=str(number),
            release=release,
            route="canary" if release == CANARY else "stable",
            text="question",
            output="answer",
            status=status,
            rail=None,
            latency_ms=latency_ms + number % 3,
            model_version=1,
            finish=finish if number < failed else "stop",
        )

    return [row(number) for number in range(n)]


def answering(canary_ms: float = 5.0, stable_ms: float = 5.0) -> Callable[[str | Probe, str], ProbeReply]:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "answer", canary_ms if release == CANARY else stable_ms)

    return ask


def judge(
    traffic: Sequence[TrafficRow],
    probes: int = 30,
    ask: Callable[[str | Probe, str], ProbeReply] | None = None,
    bars: Bars | None = None,
) -> tuple[Decision, dict[str, Check]]:
    texts = [f"question {n}" for n in range(probes)]
    verdict = compare(traffic, texts, ask or answering(), CANARY, STABLE, bars or Bars())
    return verdict.decision, {row.name: row for row in verdict.rows}


def test_a_healthy_canary_holds() -> None:
    decision, found = judge(rows(CANARY, 100) + rows(STABLE, 900))
    assert decision is Decision.GO
    assert {row.decision for row in found.values()} == {Decision.GO}
    assert set(found) == {"probes", "probe latency p95", "traffic errors", "traffic latency p95"}


def test_a_canary_that_fails_more_often_than_the_bar_does_not_hold() -> None:
    decision, found = judge(rows(CANARY, 100, failed=2) + rows(STABLE, 900))
    assert decision is Decision.NO_GO
    assert (found["traffic errors"].got, found["traffic errors"].n) == (0.02, 100)


def test_a_canary_that_fails_significantly_more_than_stable_does_not_hold_under_a_wide_bar() -> None:
    traffic = rows(CANARY, 200, failed=10) + rows(STABLE, 2000, failed=2)
    wide = Bars(max_error_share=0.2)
    assert judge(traffic, bars=wide)[0] is Decision.NO_GO
    same = rows(CANARY, 200, failed=10) + rows(STABLE, 2000, failed=100)
    assert judge(same, bars=wide)[0] is Decision.GO


def test_what_callers_got_wrong_is_not_held_against_a_canary() -> None:
    traffic = rows(CANARY, 100, failed=50, finish="error: AskError") + rows(STABLE, 100)
    decision, found = judge(traffic)
    assert (decision, found["traffic errors"].n) == (Decision.GO, 50)


def test_a_canary_that_slows_down_does_not_hold() -> None:
    assert judge(rows(CANARY, 100, latency_ms=305) + rows(STABLE, 900))[0] is Decision.NO_GO
    decision, found = judge([], ask=answering(canary_ms=40))
    assert (decision, found["probe latency p95"].decision) == (Decision.NO_GO, Decision.NO_GO)


def test_a_difference_of_a_few_milliseconds_is_not_called_slower() -> None:
    assert judge([], ask=answering(canary_ms=4, stable_ms=2))[0] is Decision.GO


def test_few_requests_are_said() -> None:
    _, found = judge(rows(CANARY, 3))
    assert "3 requests are few" in found["traffic errors"].message
    _, none = judge([])
    assert "probes decide alone" in none["traffic errors"].message


def test_less_traffic_than_asked_for_is_inconclusive_unless_it_shows_a_failure() -> None:
    asked = Bars(min_requests=50)
    assert judge(rows(CANARY, 49), bars=asked)[0] is Decision.INCONCLUSIVE
    assert judge(rows(CANARY, 50), bars=asked)[0] is Decision.GO


def test_without_a_single_probe_nothing_was_shown() -> None:
    assert judge(rows(CANARY, 100) + rows(STABLE, 100), probes=0)[0] is Decision.NO_GO


def test_the_95th_percentile_is_the_nearest_rank() -> None:
    assert p95([float(n) for n in range(1, 101)]) == 96.0
    assert p95([7.0]) == 7.0


def scored(texts: int, right: Callable[[str], bool]) -> list[Probe]:
    """Probes whose answers are worth 1 when they are right."""
    said = ({"role": "user", "content": f"question {n}"} for n in range(texts))
    return [Probe((one,), score=lambda answer: float(right(answer))) for one in said]


def test_a_canary_whose_answers_are_worth_less_does_not_hold() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "wrong" if release == CANARY else "right", 5.0)

    probes = scored(50, lambda answer: answer == "right")
    verdict = compare([], probes, ask, CANARY, STABLE, Bars())
    found = {row.name: row for row in verdict.rows}
    assert verdict.decision is Decision.NO_GO and found["probes"].decision is Decision.GO
    row = found["probe scores"]
    assert (row.decision, row.got, row.n) == (Decision.NO_GO, 1.0, 50)
    assert row.message == "the canary's answers score 0.0%, stable's 100.0%"


def test_a_canary_that_answers_as_well_as_stable_holds_and_chance_is_no_fault() -> None:
    asked_before: list[str] = []

    def ask(asked: str | Probe, release: str) -> ProbeReply:
        asked_before.append(Probe.of(asked).text)
        wrong = release == CANARY and len(asked_before) < 4
        return ProbeReply(200, release, "", "wrong" if wrong else "right", 5.0)

    verdict = compare([], scored(50, lambda answer: answer == "right"), ask, CANARY, STABLE, Bars())
    assert verdict.decision is Decision.GO
    assert next(row.got for row in verdict.rows if row.name == "probe scores") == 0.04


def test_graded_answers_are_compared_by_their_means() -> None:
    def ask(asked: str | Probe, release: str) -> ProbeReply:
        return ProbeReply(200, release, "", "0.2" if release == CANARY else "0.8", 5.0)

    probes = [Probe(({"role": "user", "content": str(n)},), score=float) for n in range(30)]
    row = next(r for r in compare([], probes, ask, CANARY, STABLE, Bars()).rows if r.name == "probe scores")
    assert row.decision is Decision.NO_GO and row.got is not None and abs(row.got - 0.6) < 1e-9
