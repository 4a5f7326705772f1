"""How often a gate decides, rightly and wrongly: simulated releases, judged by the product's own rules.

Every figure is a share of `--draws` gates at alpha 0.05. A/A: the new model is as good as stable. At the
margin: one row's true drop is its margin, so that GO is wrong; a NO_GO of an A/A gate is wrong too. 2 cores,
about six minutes with 5,000 draws; seeds are fixed.

    python benchmarks/gate_calibration.py [--draws 5000] [--only binary,bars,graded,groups,plan,looks,tiers]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf

import numpy as np
from numpy.typing import NDArray

from opswright.core.gate import Decision, GateSpec, Tier, Verdict
from opswright.core.statistics import BarTest, DropTest, mean_drop_at_most, share_at_least
from opswright.core.statistics.power import smallest_margin, smallest_visible_drop
from opswright.evals.gate_rows import GateRow, decided
from opswright.evals.tiers import rank

ALPHA = 0.05
MARGIN = 0.05
Draws = NDArray[np.float64]
MakeDrops = Callable[[np.random.Generator, int, int, float], Draws]  # (generator, draws, n, true drop)


@dataclass(frozen=True)
class Rates:
    """Shares of gates that decided GO and NO_GO."""

    go: float
    no_go: float


def verdicts(tests: Sequence[Sequence[BarTest]], alpha: float = ALPHA) -> Rates:
    """The rates of gates, each given by the tests of its rows."""
    spec = GateSpec(suite="simulated", alpha=alpha)
    found = []
    for one in tests:
        rows = [GateRow(f"row {i}", Tier.CRITICAL, test) for i, test in enumerate(one)]
        found.append(Verdict.of(decided(rows, spec)).decision)
    return Rates(*(sum(d is wanted for d in found) / len(found) for wanted in (Decision.GO, Decision.NO_GO)))


@cache
def drop_test(n: int, margin: float) -> DropTest:
    """The test, which many draws share."""
    return DropTest(n, margin)


@cache
def dropped(n: int, lost: int, won: int, margin: float = MARGIN) -> BarTest:
    """A paired row without its bounds, which decide nothing."""
    test = drop_test(n, margin)
    p_go, p_nogo = test.p_go(lost, won), test.p_nogo(lost, won)
    return BarTest((lost - won) / n, margin, n, p_go, p_nogo, -inf, inf)


def lost_and_won(
    rng: np.random.Generator, n: int, discordance: float, drop: float, draws: int
) -> NDArray[np.int64]:
    """Counts (draws, 2) of n pairs with a true drop; a discordance below the drop is the drop."""
    discordance = max(discordance, abs(drop))
    p_lost, p_won = (discordance + drop) / 2, (discordance - drop) / 2
    return rng.multinomial(n, [p_lost, p_won, 1 - p_lost - p_won], draws)[:, :2]


def binary(n: int, discordance: float, drops: Sequence[float], draws: int, margin: float = MARGIN) -> Rates:
    """Gates of one paired row for each true drop, n items each."""
    rng = np.random.default_rng(7)
    counts = [lost_and_won(rng, n, discordance, drop, draws) for drop in drops]
    return verdicts(
        [
            [dropped(n, int(lost), int(won), margin) for lost, won in gate]
            for gate in zip(*counts, strict=True)
        ]
    )


def bars(n: int, share: float, bar: float, draws: int) -> Rates:
    """Gates of one row: a true share against its bar."""
    right = np.random.default_rng(7).binomial(n, share, draws)
    return verdicts([[share_at_least(int(x), int(x), n, bar, ALPHA)] for x in right])


def graded(
    make: Callable[[np.random.Generator, int, int, float], Draws], n: int, drop: float, draws: int
) -> Rates:
    """Gates of one row of graded scores, or of groups' means: drops (draws, n)."""
    drops = make(np.random.default_rng(7), draws, n, drop)
    return verdicts([[mean_drop_at_most(one, one, MARGIN, ALPHA)] for one in drops.tolist()])


def total_losses(rng: np.random.Generator, draws: int, n: int, drop: float) -> Draws:
    """Rare total losses and nothing else."""
    return (rng.random((draws, n)) < drop).astype(float)


def skewed(rng: np.random.Generator, draws: int, n: int, drop: float) -> Draws:
    """A little better nearly everywhere, 6 % big losses."""
    big = rng.random((draws, n)) < 0.06
    return np.where(big, 0.9, -0.02) + (drop - (0.06 * 0.9 - 0.94 * 0.02))


def noisy(rng: np.random.Generator, draws: int, n: int, drop: float) -> Draws:
    """Graded scores with noise of 0.25."""
    return np.clip(rng.normal(0, 0.25, (draws, n)), -0.9, 0.9) + drop


def talks(discordance: float) -> MakeDrops:
    """Means of groups of 10 right or wrong answers, three in ten of which share one outcome."""

    def make(rng: np.random.Generator, draws: int, groups: int, drop: float) -> Draws:
        p_lost, p_won = (discordance + drop) / 2, (discordance - drop) / 2
        u = rng.random((draws, groups, 10))
        u = np.where(rng.random((draws, groups, 1)) < 0.3, u[..., :1], u)
        return ((u < p_lost).astype(float) - ((u >= p_lost) & (u < p_lost + p_won))).mean(-1)

    return make


def two_looks(first: int, second: int, alpha: float, draws: int) -> float:
    """False GO of a model at the margin that is judged on some items, and while undecided on more."""
    rng = np.random.default_rng(7)
    early = lost_and_won(rng, first, 0.1, MARGIN, draws)
    late = early + lost_and_won(rng, second - first, 0.1, MARGIN, draws)
    passed = 0
    for a, b in zip(early.tolist(), late.tolist(), strict=True):
        test = dropped(first, *a)
        if min(test.p_go, test.p_nogo) > alpha:
            test = dropped(second, *b)
        passed += test.p_go <= alpha
    return passed / draws


def wrong_ranks(models: int, n: int, draws: int) -> float:
    """Share of leaderboards of equal models, items of their own difficulty, with more than one tier."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(draws):
        hard = rng.normal(0, 1.5, n)
        right = rng.random((models, n)) < 1 / (1 + np.exp(-(1.0 - hard)))
        scores = {f"m{i}": {str(j): float(x) for j, x in enumerate(row)} for i, row in enumerate(right)}
        wrong += any(one.worst_rank - one.best_rank + 1 < models for one in rank(scores, ALPHA))
    return wrong / draws


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'-|' * len(head)}")
    for row in rows:
        print(
            "| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |", flush=True
        )


def show_binary(draws: int) -> None:
    """Paired right or wrong answers, one row or several slices."""
    rows = []
    for n in (30, 100, 300, 1000):
        for discordance in (0.02, 0.1, 0.3):
            for k in (1, 5, 10):
                same = binary(n, discordance, [0.0] * k, draws)
                at = binary(n, discordance, [MARGIN, *[0.0] * (k - 1)], draws)
                bad = binary(n, discordance, [3 * MARGIN, *[0.0] * (k - 1)], draws)
                rows.append((n, f"{discordance:.0%}", k, same.go, same.no_go, at.go, bad.no_go))
    head = ("n", "discordant", "rows", "A/A GO", "A/A NO_GO", "false GO", "NO_GO at 15 points")
    show("Paired, margin 5 points, n items in each row", head, rows)


def show_bars(draws: int) -> None:
    """A share against a bar, true share at the bar: every decision is wrong or lucky."""
    rows = []
    for bar in (0.5, 0.8, 0.9, 0.95):
        for n in (30, 100, 300, 1000):
            at = bars(n, bar, bar, draws)
            rows.append((bar, n, at.go, at.no_go))
    show("A share at its bar", ("bar", "n", "GO", "NO_GO"), rows)


def show_graded(draws: int) -> None:
    """Graded scores."""
    rows = []
    for name, make in (("total losses", total_losses), ("skewed", skewed), ("noise", noisy)):
        for n in (30, 100, 300, 1000):
            at, same = graded(make, n, MARGIN, draws), graded(make, n, 0.0, draws)
            bad = graded(make, n, 3 * MARGIN, draws)
            rows.append((name, n, same.go, same.no_go, at.go, at.no_go, bad.no_go))
    head = ("scores", "n", "A/A GO", "A/A NO_GO", "false GO", "NO_GO at the margin", "NO_GO at 15 points")
    show("Graded scores, margin 5 points", head, rows)


def show_groups(draws: int) -> None:
    """Groups of ten items that go together."""
    rows = []
    for groups in (10, 30, 100, 300):
        for discordance in (0.06, 0.1, 0.3):
            make = talks(discordance)
            at, same = graded(make, groups, MARGIN, draws), graded(make, groups, 0.0, draws)
            rows.append((groups, f"{discordance:.0%}", same.go, same.no_go, at.go, at.no_go))
    head = ("groups of 10", "discordant", "A/A GO", "A/A NO_GO", "false GO", "NO_GO at the margin")
    show("Groups, margin 5 points", head, rows)


def show_plan(draws: int) -> None:
    """What pre-flight promises 4 times in 5, against what happens."""
    rows = []
    for n in (100, 300, 1000):
        for discordance in (0.02, 0.1, 0.3):
            margin = smallest_margin(n, discordance)
            drop = smallest_visible_drop(n, MARGIN, discordance)
            ten = smallest_visible_drop(n, MARGIN, discordance, rows=10)
            assert margin is not None and drop is not None and ten is not None
            passes = binary(n, discordance, [0.0], draws, margin).go
            found = binary(n, discordance, [drop], draws).no_go
            in_ten = binary(n, discordance, [ten, *[0.0] * 9], draws).no_go
            rows.append((n, f"{discordance:.0%}", margin, passes, drop, found, ten, in_ten))
    head = ("n", "discordant", "margin", "A/A GO", "drop, 1 row", "NO_GO", "drop, 10 rows", "NO_GO")
    show("What the plan promises with 80 %", head, rows)


def show_looks(draws: int) -> None:
    """Two looks at one model that is at its margin."""
    rows = [("each at 0.05", two_looks(200, 1000, ALPHA, draws))]
    rows += [("`looks: 2`, each at 0.025", two_looks(200, 1000, ALPHA / 2, draws))]
    show("False GO in two looks, at 200 and at 1,000 items", ("alpha", "false GO"), rows)


def show_tiers(draws: int) -> None:
    """Leaderboards of equal models."""
    rows = [(m, n, wrong_ranks(m, n, max(draws // 5, 1))) for m in (5, 10) for n in (100, 300)]
    show(
        "Leaderboards of equal models with any difference (a fifth of the draws)",
        ("models", "n", "wrong"),
        rows,
    )


PARTS: dict[str, Callable[[int], None]] = {
    "binary": show_binary,
    "bars": show_bars,
    "graded": show_graded,
    "groups": show_groups,
    "plan": show_plan,
    "looks": show_looks,
    "tiers": show_tiers,
}


def main() -> None:
    """Measure, and print a table for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--only", default=",".join(PARTS))
    ask = parser.parse_args()
    for name in ask.only.split(","):
        started = time.perf_counter()
        PARTS[name](ask.draws)
        print(f"\n{name}: {ask.draws:,} draws, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
