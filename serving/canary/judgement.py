"""Is a canary as good as stable? Judged so that it may be asked after every request.

A healthy canary is ever found worse with probability alpha at most, whoever looks and however often: each of
the tests stops it at alpha over their number (`core.statistics.always_valid`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.gate import Check, Decision, Tier
from ...core.statistics.shares import upper_bound, wilson
from .evidence import EVENTS, TESTS, CanaryEvidence
from .tallies import COMPLAINTS

if TYPE_CHECKING:
    from ...core.statistics.always_valid import EventCounts


@dataclass(frozen=True)
class Bars:
    """The limits a canary must keep; shares are 0 to 1."""

    max_error_share: float = 0.01  # of its own requests, never held against it
    max_slower: float = 1.5  # times stable's p95: a slow answer
    alpha: float = 0.05  # chance that a healthy canary is ever found worse
    min_requests: int = 0
    max_score_drop: float = 0.05  # of the answers to probes that are scored, above 0
    max_unseen_drop: float = 0.2  # of the score, that may not be shown not to be there
    max_disagreement: float = 0.3  # of answers, with stable's
    margin: float = 0.05  # by which events may be more and still count as no worse

    @property
    def limit(self) -> float:
        """The logarithm of the evidence that finds a canary worse."""
        return math.log(TESTS / self.alpha)


def judge(evidence: CanaryEvidence, bars: Bars) -> list[Check]:
    """A row for each thing that is watched: shown worse, shown no worse, or neither yet."""
    rows = [_event(evidence, name, bars) for name in _events(evidence)]
    return [*rows, _agreement(evidence.agreed, bars)] if evidence.agreed else rows


def faults(evidence: CanaryEvidence, bars: Bars) -> list[Check]:
    """The rows of `judge` that find the canary worse, and nothing of what is shown no worse.

    Takes the same time however many requests there were, so it may be asked all the time.
    """
    rows = [_event(evidence, name, bars, shows_within=False) for name in _events(evidence)]
    rows += [_agreement(evidence.agreed, bars)] if evidence.agreed else []
    return [row for row in rows if row.decision is Decision.NO_GO]


def _events(evidence: CanaryEvidence) -> tuple[str, ...]:
    return (*EVENTS, COMPLAINTS) if evidence.ratings else EVENTS


def events_log_e(drawn: list[EventCounts], pairs: list[EventCounts]) -> float:
    """The evidence of both that the canary meets an event more often.

    The mean of the two and not their product: a request of stable's that was asked of the canary too is in
    both.
    """
    from ...core.statistics.always_valid import log_e_events

    both = [float(log_e_events(counts)) if counts else 0.0 for counts in (drawn, pairs)]
    most = max(both)
    return most + math.log(sum(math.exp(one - most) for one in both) / 2)


def _event(evidence: CanaryEvidence, name: str, bars: Bars, *, shows_within: bool = True) -> Check:
    (mine, n), (theirs, of_stable) = evidence.met(name)
    log_e = events_log_e(*evidence.counts(name))
    share, usual = (mine / n if n else 0.0), (theirs / of_stable if of_stable else 0.0)
    spared = bars.max_error_share if name == "errors" else usual
    is_worse = log_e >= bars.limit and share > max(spared, usual)
    log_within = _within(evidence, name, bars.margin) if shows_within else 0.0
    is_held = log_within >= -math.log(bars.alpha)
    counted = "rated answers" if name == COMPLAINTS else "requests"
    told = f"{mine} of the canary's {n} {counted}, {theirs} of stable's {of_stable}"
    if not is_worse and not is_held:
        told += _unseen(mine, n, counted, bars)
    return Check(
        name=name,
        decision=Decision.NO_GO if is_worse else Decision.GO if is_held else Decision.INCONCLUSIVE,
        got=share,
        n=n,
        p_go=_p(log_within),
        p_nogo=_p(log_e - math.log(TESTS)),
        tier=Tier.SUPPORTING,
        message=told,
    )


def _unseen(mine: int, n: int, counted: str, bars: Bars) -> str:
    """What so few requests leave open."""
    if n == 0:
        return f"; the canary had no {counted} of its own yet"
    most = upper_bound(mine, n, bars.alpha)
    return f"; {n} {counted} are few: up to {most:.0%} would look the same, no worse is not shown"


def _within(evidence: CanaryEvidence, name: str, margin: float) -> float:
    """Log evidence that the canary meets an event at most `margin` more often than stable."""
    import numpy as np

    from ...core.statistics.always_valid import block_differences, log_e_within

    series = evidence.in_order(name)
    is_canary, met = (np.frombuffer(bytes(one), np.uint8) for one in (series.is_canary, series.met))
    blocks = block_differences(met.astype(float), is_canary.astype(bool))[0]
    pairs = np.array(evidence.pair_differences[name], float)
    both = [float(log_e_within(found, margin)[-1]) if len(found) else 0.0 for found in (blocks, pairs)]
    most = max(both)
    return most + math.log(sum(math.exp(one - most) for one in both) / 2)


def _agreement(agreed: list[bool], bars: Bars) -> Check:
    """Whether the canary's answers differ from stable's no more often than the bar."""
    import numpy as np

    from ...core.statistics.always_valid import log_e_share, log_e_within

    n, differ = len(agreed), len(agreed) - sum(agreed)
    most = bars.max_disagreement
    log_e = float(log_e_share(differ, n, most)) if 0 < most < 1 else 0.0
    is_other = log_e >= bars.limit and differ / n > most
    held = float(log_e_within(1.0 - np.array(agreed, float), most)[-1]) if 0 < most < 1 else math.inf
    is_held = held >= -math.log(bars.alpha)
    return Check(
        name="agreement with stable",
        decision=Decision.NO_GO if is_other else Decision.GO if is_held else Decision.INCONCLUSIVE,
        got=1 - differ / n,
        bar=1 - most,
        n=n,
        interval=wilson(n - differ, n),
        level=0.95,
        p_go=_p(held),
        p_nogo=_p(log_e - math.log(TESTS)),
        tier=Tier.SUPPORTING,
        message=f"{differ} of {n} answers differ from stable's to the same request",
    )


def _p(log_e: float) -> float:
    """The p-value that always holds: 1 over the evidence, at most 1."""
    return math.exp(-max(log_e, 0.0))
