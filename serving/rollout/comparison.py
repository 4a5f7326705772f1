"""Is a canary as good as stable? Probes that both answer, and what their traffic showed, as a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...core.gate import Check, Decision, Tier, Verdict
from ...core.statistics.shares import upper_bound
from ..canary.answers import agree, is_invalid
from ..canary.evidence import TESTS, CanaryEvidence, Pair, ReleaseReply
from ..canary.judgement import Bars, judge
from ..fleet import ProbeReply
from ..probes import Probe, scores_check

Ask = Callable[[str | Probe, str], ProbeReply]  # (what is asked, release id)
_TRIES = 3  # a release that fails once in a while still answers
_TOLERANCE = 0.1  # above the disagreement that the golden sample shows to be right


@dataclass
class _Asked:
    """What both releases said to the probes."""

    probes: int = 0
    at_fault: int = 0  # of them, what stable could not answer either
    unanswered: list[str] = field(default_factory=list)  # which the canary did not answer, and stable did
    scores: list[tuple[float, float]] = field(default_factory=list)  # of stable's answer, of the canary's
    golden_agreed: list[bool] = field(default_factory=list)


def compare(evidence: CanaryEvidence, probes: Sequence[str | Probe], ask: Ask, bars: Bars) -> Verdict:
    """The verdict on a canary: what traffic showed, and what both releases answer now.

    A golden sample (probes with scores) decides where there is one; traffic is held against the canary as
    soon as it shows something. Too few requests of its own are INCONCLUSIVE when `bars.min_requests` asks for
    more. What the probes show is added to the evidence.
    """
    asked = _Asked()
    for number, probe in enumerate(probes):
        _ask_both(Probe.of(probe), ask, evidence, asked, canary_first=number % 2 == 0)
    rows = [_answered(asked)]
    scored = scores_check(
        asked.scores, bars.max_score_drop, bars.max_unseen_drop, bars.alpha, bars.alpha / TESTS
    )
    if scored is not None:
        rows.append(scored)
        bars = replace(bars, max_disagreement=_usual_disagreement(asked.golden_agreed, bars))
    return Verdict.of([*rows, _own_requests(evidence.requests, bars.min_requests), *judge(evidence, bars)])


def _ask_both(probe: Probe, ask: Ask, evidence: CanaryEvidence, asked: _Asked, *, canary_first: bool) -> None:
    """Ask both releases in turn; what neither can answer says nothing of the canary."""
    order = (evidence.canary, evidence.stable) if canary_first else (evidence.stable, evidence.canary)
    replies = {release: ask(probe, release) for release in order}
    canary, stable = replies[evidence.canary], replies[evidence.stable]
    fault, usual = fault_of(canary, evidence.canary), fault_of(stable, evidence.stable)
    agrees = None if fault or usual else _same(canary, stable)
    compared = agrees if probe.score is None else None  # what scores say tells more
    evidence.add_pair(Pair(_reply(canary, fault), _reply(stable, usual), compared))
    asked.probes += 1
    asked.at_fault += fault is not None and usual is not None
    if fault is not None and usual is None:
        canary, fault = _asked_again(probe, ask, evidence.canary, canary, fault)
        if fault is not None:
            asked.unanswered.append(f"{probe.text[:60]!r}: {fault}")
    if usual is None:
        worth = probe.worth(stable.text), 0.0 if fault else probe.worth(canary.text)
        if worth[0] is not None and worth[1] is not None:
            asked.scores.append((worth[0], worth[1]))
            asked.golden_agreed.append(fault is None and _same(canary, stable))


def _asked_again(
    probe: Probe, ask: Ask, release: str, reply: ProbeReply, fault: str
) -> tuple[ProbeReply, str | None]:
    """The first reply that is an answer, else the last one and its fault."""
    found: str | None = fault
    for _ in range(_TRIES - 1):
        if found is None or reply.status == 200:  # somebody else answers: that is no mishap
            break
        reply = ask(probe, release)
        found = fault_of(reply, release)
    return reply, found


def _same(one: ProbeReply, other: ProbeReply) -> bool:
    return (one.rail is None) == (other.rail is None) and agree(one.text, other.text)


def _reply(reply: ProbeReply, fault: str | None) -> ReleaseReply:
    if fault is not None:
        return ReleaseReply("error", reply.latency_ms)
    if reply.rail is not None:
        return ReleaseReply("blocked", reply.latency_ms)
    return ReleaseReply("ok", reply.latency_ms, is_invalid(reply.text))


def _answered(asked: _Asked) -> Check:
    wrong, n = asked.unanswered, asked.probes
    told = f"the canary answered {n - asked.at_fault} of {n} probes as itself"
    told += f"; stable could not answer the other {asked.at_fault} either" if asked.at_fault else ""
    return Check(
        name="probes",
        decision=Decision.NO_GO if wrong or not n else Decision.GO,
        got=(n - len(wrong)) / n if n else 0.0,
        bar=1.0,
        n=n,
        message=wrong[0] if wrong else told if n else "nothing was asked",
    )


def _usual_disagreement(agreed: Sequence[bool], bars: Bars) -> float:
    """How often answers may differ: as often as on the golden sample, whose scores say what that is worth."""
    differ = len(agreed) - sum(agreed)
    return min(1.0, max(bars.max_disagreement, upper_bound(differ, len(agreed), bars.alpha) + _TOLERANCE))


def _own_requests(requests: int, wanted: int) -> Check:
    """How much traffic stands behind the verdict; it decides only where some was asked for."""
    is_enough = requests >= wanted
    told = f"the canary answered {requests} requests of its own"
    if not is_enough:
        told += f"; {wanted} are asked for"
    elif not requests:
        told = "the canary had no traffic of its own yet: probes and shadowed requests decide alone"
    return Check(
        name="requests",
        decision=Decision.GO if is_enough else Decision.INCONCLUSIVE,
        got=requests,
        bar=wanted,
        unit="count",
        tier=Tier.CRITICAL if wanted else Tier.ADVISORY,
        message=told,
    )


def fault_of(reply: ProbeReply, release: str) -> str | None:
    """Why an answer does not show that a release serves; None when it does. A rail's answer is one."""
    if reply.status != 200:
        return f"status {reply.status}: {reply.text[:160]}"
    if reply.release != release:
        return f"release {reply.release or 'unknown'} answered"
    return None
