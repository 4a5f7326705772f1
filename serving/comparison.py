"""Is a canary as good as stable? Probes that both answer, and the canary's own traffic, as a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.gate import Check, Decision, Verdict
from .fleet import ProbeReply
from .gateway.traffic_log import TrafficRow
from .probes import Probe, scores_check

Ask = Callable[[str | Probe, str], ProbeReply]  # (what is asked, release id)
_SLOWER_MS = 5.0  # a difference smaller than this is never called slower
_ENOUGH = 20


@dataclass(frozen=True)
class Bars:
    """The limits a canary must keep to be promoted; shares are 0 to 1."""

    max_error_share: float = 0.01
    max_slower: float = 1.5  # p95 of the canary over p95 of stable
    alpha: float = 0.01
    min_requests: int = 0
    max_score_drop: float = 0.05  # of the answers to probes that are scored, above 0


def compare(
    rows: Sequence[TrafficRow],
    probes: Sequence[str | Probe],
    ask: Ask,
    canary: str,
    stable: str | None,
    bars: Bars,
) -> Verdict:
    """The verdict on a canary.

    `rows` is the endpoint's traffic since the canary is out; `probes` are what both releases are asked now.
    Too few requests of its own are said, and are INCONCLUSIVE when `bars.min_requests` asks for more.
    """
    checks = probe_both(probes, ask, canary, stable, bars)
    own = [row for row in rows if row.release == canary and not _is_callers_fault(row)]
    theirs = [row for row in rows if row.release == stable and not _is_callers_fault(row)]
    return Verdict.of([*checks, _errors(own, theirs, bars), *_latency(own, theirs, bars)])


def probe_both(
    probes: Sequence[str | Probe], ask: Ask, canary: str, stable: str | None, bars: Bars
) -> list[Check]:
    """Ask both releases the same in turn: the canary must answer each itself, not worse and not slower."""
    wrong: list[str] = []
    slow: list[float] = []
    usual: list[float] = []
    scores: list[tuple[float, float]] = []
    for asked in probes:
        probe, reply = Probe.of(asked), ask(asked, canary)
        if fault := fault_of(reply, canary):
            wrong.append(f"{probe.text[:60]!r}: {fault}")
        slow.append(reply.latency_ms)
        if stable is not None:
            before = ask(asked, stable)
            usual.append(before.latency_ms)
            worth = probe.worth(before.text), 0.0 if fault else probe.worth(reply.text)
            if worth[0] is not None and worth[1] is not None:
                scores.append((worth[0], worth[1]))
    answered = Check(
        name="probes",
        decision=Decision.NO_GO if wrong or not probes else Decision.GO,
        got=(len(probes) - len(wrong)) / len(probes) if probes else 0.0,
        bar=1.0,
        n=len(probes),
        message=wrong[0] if wrong else f"the canary answered {len(probes)} of {len(probes)} probes as itself",
    )
    scored = scores_check(scores, bars.max_score_drop, bars.alpha)
    found = [answered] if scored is None else [answered, scored]
    return found if len(usual) < _ENOUGH else [*found, _slower("probe latency p95", slow, usual, bars)]


def fault_of(reply: ProbeReply, release: str) -> str | None:
    """Why an answer does not show that a release serves; None when it does. A rail's answer is one."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.text[:160]}"
    if reply.release != release:
        return f"release {reply.release or 'unknown'} answered"
    return None


def _is_callers_fault(row: TrafficRow) -> bool:
    return row.status == "error" and row.finish == "error: AskError"


def _errors(own: Sequence[TrafficRow], theirs: Sequence[TrafficRow], bars: Bars) -> Check:
    """The canary's failed requests: no more than the bar, and not significantly more than stable's."""
    name, n = "traffic errors", len(own)
    failed = sum(row.status == "error" for row in own)
    if n < max(bars.min_requests, 1):
        return Check(
            name=name,
            decision=Decision.INCONCLUSIVE if n < bars.min_requests else Decision.GO,
            bar=bars.max_error_share,
            n=n,
            message=f"the canary answered {n} requests of its own; {bars.min_requests} are asked for"
            if bars.min_requests
            else "the canary had no traffic of its own yet: its probes decide alone",
        )
    share, p_value = failed / n, None
    worse = share > bars.max_error_share
    if failed and theirs:
        from scipy.stats import fisher_exact

        usual = sum(row.status == "error" for row in theirs)
        table = [[failed, n - failed], [usual, len(theirs) - usual]]
        p_value = float(fisher_exact(table, alternative="greater").pvalue)
        worse = worse or p_value < bars.alpha
    few = "" if n >= _ENOUGH else f"; {n} requests are few, so this shows only what breaks often"
    return Check(
        name=name,
        decision=Decision.NO_GO if worse else Decision.GO,
        got=share,
        bar=bars.max_error_share,
        n=n,
        p_value=p_value,
        message=f"{failed} of the canary's own {n} requests failed{few}",
    )


def _latency(own: Sequence[TrafficRow], theirs: Sequence[TrafficRow], bars: Bars) -> list[Check]:
    """The canary's latency on its own traffic, where both releases had enough of it."""
    slow = [row.latency_ms for row in own if row.status == "ok"]
    usual = [row.latency_ms for row in theirs if row.status == "ok"]
    if min(len(slow), len(usual)) < _ENOUGH:
        return []
    return [_slower("traffic latency p95", slow, usual, bars)]


def _slower(name: str, slow: Sequence[float], usual: Sequence[float], bars: Bars) -> Check:
    """NO_GO when the p95 is over the bar and the whole sample is slower too (one-sided Mann-Whitney)."""
    from scipy.stats import mannwhitneyu

    got, stable = p95(slow), p95(usual)
    p_value = float(mannwhitneyu(slow, usual, alternative="greater").pvalue)
    ratio = got / stable if stable > 0 else 1.0
    is_slower = ratio > bars.max_slower and got - stable > _SLOWER_MS and p_value < bars.alpha
    return Check(
        name=name,
        decision=Decision.NO_GO if is_slower else Decision.GO,
        got=round(ratio, 3),
        bar=bars.max_slower,
        n=len(slow),
        p_value=p_value,
        message=f"p95 {got:.1f} ms against {stable:.1f} ms of stable",
    )


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
