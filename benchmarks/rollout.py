"""How soon a bad canary is withdrawn, and how seldom a healthy one: simulated, by the product's own tests.

Each row: one fault at one share of the traffic, `--runs` canaries, looked at after every request. Latencies
have a heavy tail and bursts that both releases feel; a tenth of stable's requests is shadowed; users speak of
one answer in twenty, and call a fifth of those wrong. 2 cores: about ten minutes with 5,000 runs, half a
minute with --quick; seeds are fixed. Injected for real: rollout_real.py.

    python benchmarks/rollout.py [--quick] [--runs 5000] [--share 1,10,50] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from opswright.core.statistics.always_valid import (
    EventCounts,
    block_differences,
    log_e_events,
    log_e_share,
    log_e_within,
)
from opswright.serving.canary.evidence import EVENTS, budget_of
from opswright.serving.canary.judgement import Bars
from opswright.serving.canary.tallies import COMPLAINTS

BARS = Bars()
SHADOWED = 0.1
RATED, USUAL_COMPLAINTS = 0.05, 0.2  # of requests, of rated answers
LENGTH = {1: 40_000, 10: 10_000, 50: 6_000}  # requests of a run, both releases
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a canary: chances of one request, ms, or nothing."""

    name: str
    errors: float = 0.0
    blocks: float = 0.0
    slower_ms: float = 0.0
    invalid: float = 0.0
    disagreement: float = 0.1
    complaints: float = USUAL_COMPLAINTS
    base: float = 0.01  # errors of both releases


FAULTS = (
    Fault("healthy, no errors", base=0.0),
    Fault("healthy, 1 % errors"),
    Fault("healthy, 5 % errors", base=0.05),
    Fault("wrong answers", disagreement=1.0),
    Fault("+300 ms", slower_ms=300),
    Fault("5 % errors on 0", errors=0.05, base=0.0),
    Fault("5 % errors on 1 %", errors=0.05),
    Fault("60 % blocks", blocks=0.6),
    Fault("garbage", invalid=1.0, disagreement=1.0),
    Fault("60 % of rated answers wrong", complaints=0.6),
)


@dataclass(frozen=True)
class Row:
    """What became of the canaries with one fault at one share; requests of both releases, None: not all."""

    fault: str
    percent: int
    withdrawn: float
    median: int | None
    p95: int | None
    shown_within: float  # shown no worse by the margin in everything that is counted
    shown_median: int | None


class Traffic:
    """Requests drawn for both releases, whatever either would make of them."""

    def __init__(
        self, draw: np.random.Generator, n: int, share: float, fault: Fault, budget_ms: float
    ) -> None:
        self.share = share
        self.is_canary = draw.random(n) < share
        self.shadowed = ~self.is_canary & (draw.random(n) < SHADOWED)
        burst = bursts(draw, n)
        canary_ms, stable_ms = latency(draw, burst) + fault.slower_ms, latency(draw, burst)
        met = {
            "errors": (draw.random(n) < fault.base + fault.errors, draw.random(n) < fault.base),
            "blocks": (draw.random(n) < (fault.blocks or 0.02), draw.random(n) < 0.02),
            "invalid answers": (draw.random(n) < fault.invalid, np.zeros(n, bool)),
        }
        self.rows = {name: np.where(self.is_canary, *both) for name, both in met.items()}
        self.rows["slow answers"] = np.where(self.is_canary, canary_ms, stable_ms) > budget_ms
        untimed = np.zeros(n, bool)  # a shadow runs beside the next request: that says nothing of its speed
        complains = draw.random(n) < np.where(self.is_canary, fault.complaints, USUAL_COMPLAINTS)
        self.rows[COMPLAINTS] = (draw.random(n) < RATED) & complains
        self.both = {**met, "slow answers": (untimed, untimed), COMPLAINTS: (untimed, untimed)}
        self.disagrees = draw.random(n) < fault.disagreement

    def withdrawn_at(self) -> float:
        """The request at which some test finds the canary worse; infinite when none does."""
        at = np.flatnonzero(self.shadowed)
        disagreed = np.cumsum(self.disagrees[at])
        log_e = log_e_share(disagreed, np.arange(1, len(at) + 1), BARS.max_disagreement)
        return min([*(self._event_at(name) for name in (*EVENTS, COMPLAINTS)), _first(log_e, at)])

    def _event_at(self, name: str) -> float:
        mine, theirs = self.both[name]
        alone, other = self.shadowed & mine & ~theirs, self.shadowed & theirs & ~mine
        at = np.flatnonzero(self.rows[name] | alone | other)
        if not len(at):
            return math.inf
        new, old = (np.cumsum((self.rows[name] & arm)[at]) for arm in (self.is_canary, ~self.is_canary))
        drawn = log_e_events([EventCounts(new, old, self.share)])
        pairs = log_e_events([EventCounts(np.cumsum(alone[at]), np.cumsum(other[at]), 0.5)])
        return _first(np.logaddexp(drawn, pairs) - math.log(2), at)

    def shown_at(self) -> float:
        """The request at which everything counted is shown to be no worse by the margin."""
        found = 0.0
        for name in EVENTS:
            blocks, ends = block_differences(self.rows[name].astype(float), self.is_canary)
            held = log_e_within(blocks, BARS.margin) - math.log(2) if len(blocks) else np.empty(0)
            at = np.flatnonzero(held >= -math.log(BARS.alpha))
            found = max(found, float(ends[at[0]]) if len(at) else math.inf)
        return found


def latency(draw: np.random.Generator, burst: Flags) -> Floats:
    """Ms: 20 in the median, a heavy tail (2 % Pareto, infinite variance), bursts of five times the time."""
    n = len(burst)
    ms: Floats = 20 * np.exp(draw.normal(0, 0.4, n))
    tail = draw.random(n) < 0.02
    ms[tail] *= 1 + draw.pareto(1.5, int(tail.sum())) * 3
    return ms * np.where(burst, 5, 1)


def bursts(draw: np.random.Generator, n: int) -> Flags:
    """One in 1,000 requests begins a burst of 60."""
    found = np.zeros(n, bool)
    for start in np.flatnonzero(draw.random(n) < 0.001):
        found[start : start + 60] = True
    return found


def _first(log_e: Floats, at: NDArray[np.int64]) -> float:
    hit = np.flatnonzero(log_e >= BARS.limit)
    return float(at[hit[0]]) if len(hit) else math.inf


def simulate(fault: Fault, percent: int, runs: int, seed: int = 9) -> Row:
    """What becomes of canaries with that fault."""
    draw = np.random.default_rng([seed, percent, FAULTS.index(fault) if fault in FAULTS else len(FAULTS)])
    n = LENGTH[percent] if not fault.slower_ms else LENGTH[percent] // 4
    history = latency(draw, bursts(draw, 2000))
    withdrawn, shown = [], []
    for _ in range(runs):
        traffic = Traffic(draw, n, percent / 100, fault, budget_of(history, BARS.max_slower))
        withdrawn.append(traffic.withdrawn_at())
        shown.append(traffic.shown_at() if fault.name.startswith("healthy") else math.inf)
    return Row(
        fault.name,
        percent,
        float(np.isfinite(withdrawn).mean()),
        quantile(withdrawn, 0.5),
        quantile(withdrawn, 0.95),
        float(np.isfinite(shown).mean()),
        quantile(shown, 0.5),
    )


def quantile(found: list[float], level: float) -> int | None:
    """The quantile of requests, counted from one; None when so many never came to it."""
    value = float(np.quantile(found, level, method="higher"))
    return int(value) + 1 if math.isfinite(value) else None


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000, help="Canaries of each row.")
    parser.add_argument("--quick", action="store_true", help="200 of them.")
    parser.add_argument("--share", default="1,10,50", help="Percent of the traffic that canaries get.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    options = parser.parse_args()
    rows = []
    for percent in map(int, options.share.split(",")):
        for fault in FAULTS:
            rows.append(simulate(fault, percent, 200 if options.quick else options.runs))
            print(f"  {rows[-1]}", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print("| canary | share | withdrawn | after requests: median / 95 % | shown no worse: median |")
    print("|---|---|---|---|---|")
    for row in rows:
        after = f"{row.median or 'never'} / {row.p95 or 'never'}"
        shown = f"{row.shown_median or 'never'}" if row.fault.startswith("healthy") else ""
        print(f"| {row.fault} | {row.percent} % | {row.withdrawn:.2%} | {after} | {shown} |")


if __name__ == "__main__":
    main()
