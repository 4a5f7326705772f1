"""Two measured endpoints under the same load: what differs by more than noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...core.artifacts import Artifact
from ...core.errors import AskError
from ...core.statistics import holm
from ..head_to_head import p_words
from ..leaderboard import markdown_table, ms_words, text_table
from .figures import LATENCIES, RATES, Samples
from .report import LoadReport, read_load_report

COMPARED = (
    *((name, label) for name in LATENCIES for label in ("p50", "p95")),
    *((name, "") for name in RATES),
)
_FEWEST = 20
_FEWEST_TURNS = 6
ALPHA = 0.05


@dataclass(frozen=True)
class LoadDifference:
    """One figure of both at one concurrency; `ratio` is B over A with its 95 % interval, p by Holm."""

    concurrency: int
    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    p_value: float

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.name in RATES

    @property
    def in_words(self) -> str:
        """The ratio, its interval and what that shows."""
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f}): {self.verdict}"

    @property
    def verdict(self) -> str:
        """`B is better`, `B is worse`, or that nothing is shown."""
        if self.p_value >= ALPHA:
            return "not shown"
        return "B is better" if (self.ratio > 1) == self.is_rate else "B is worse"


@dataclass(frozen=True)
class LoadComparison:
    """B against A under the same requests; `notes` say what else to know before it is believed."""

    a: str
    b: str
    rows: tuple[LoadDifference, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        return {**asdict(self), "rows": rows}


def compare_load(a: Artifact, b: Artifact) -> LoadComparison:
    """B against A at each concurrency that both were measured at.

    Raises AskError where they were not asked the same, or for nothing in common.
    """
    before, after = read_load_report(a), read_load_report(b)
    _check_alike(before, after)
    rows: list[LoadDifference] = []
    for concurrency in sorted(before.samples.keys() & after.samples.keys()):
        one, other = before.samples[concurrency], after.samples[concurrency]
        if min(one.n, other.n) >= _FEWEST:
            rows += _rows(concurrency, before, after)
    if not rows:
        raise AskError(
            f"{before.name} and {after.name} have no concurrency in common with {_FEWEST} whole answers of "
            "each. Measure both alike, with more requests."
        )
    corrected = holm([row.p_value for row in rows])
    told = tuple(replace(row, p_value=p) for row, p in zip(rows, corrected, strict=True))
    return LoadComparison(before.name, after.name, told, tuple(_notes(before, after)))


def _check_alike(a: LoadReport, b: LoadReport) -> None:
    for name, of_a in a.workload.items():
        if b.workload.get(name) != of_a:
            raise AskError(
                f"the two were not asked the same: {name} is {_cut(of_a)} in {a.name} and "
                f"{_cut(b.workload.get(name))} in {b.name}. Measure both alike."
            )


def _cut(value: object) -> str:
    return str(value)[:40]


def _rows(concurrency: int, a: LoadReport, b: LoadReport) -> list[LoadDifference]:
    one, other = a.samples[concurrency], b.samples[concurrency]
    found = []
    for name, label in COMPARED:
        before, after = a.figure(concurrency, name, label), b.figure(concurrency, name, label)
        if not before or not after:  # as tpot of answers of one token
            continue
        if a.is_beside(b):
            told = _by_turns(one, other, name, label)
        else:
            told = _by_requests(one, other, name, label, after / before)
        if told is None:
            continue
        title = f"{name.removesuffix('_ms')} {label} ms" if label else name
        found.append(LoadDifference(concurrency, title, before, after, *told))
    return found


def _by_turns(
    one: Samples, other: Samples, name: str, label: str
) -> tuple[float, float, float, float] | None:
    """B over A, its interval and p, by Student's t of the turns' logarithms; None without six turns.

    A turn's moment was the same for both, so what the machine did between turns is in neither.
    """
    import numpy as np
    from scipy.stats import t

    turns = sorted(set(one.turns.tolist()) & set(other.turns.tolist()))
    pairs = np.array([[x.of_turn(turn, name, label) for x in (one, other)] for turn in turns])
    with np.errstate(divide="ignore", invalid="ignore"):  # a turn in which nothing came, or came at once
        logs = np.log(pairs[:, 1] / pairs[:, 0]) if len(turns) else np.array([])
    logs = logs[np.isfinite(logs)]
    if len(logs) < _FEWEST_TURNS:
        return None
    mean, error = float(logs.mean()), float(logs.std(ddof=1) / np.sqrt(len(logs))) or 1e-12
    half = float(t.ppf(0.975, len(logs) - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, len(logs) - 1))
    low, ratio, high = np.exp([mean - half, mean, mean + half]).tolist()
    return ratio, low, high, p_value


def _by_requests(
    one: Samples, other: Samples, name: str, label: str, ratio: float
) -> tuple[float, float, float, float]:
    """B over A, its interval and p, by bootstrap over the requests of each."""
    import numpy as np

    drawn = _drawn_ratios(one, other, name, label) * (1.0 if label else ratio)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    above = (np.sum(drawn >= 1) + 1) / (len(drawn) + 1)
    below = (np.sum(drawn <= 1) + 1) / (len(drawn) + 1)
    return ratio, low, high, float(min(1.0, 2 * min(above, below)))


def _drawn_ratios(one: Samples, other: Samples, name: str, label: str) -> Any:
    """B's figure over A's in each pair of bootstrap samples; of rates, over the ratio as it was measured."""
    if label:
        return _paired(other.quantiles(name, label), one.quantiles(name, label))
    return _paired(other.rate_ratios(name), one.rate_ratios(name))


def _paired(of_b: Any, of_a: Any) -> Any:
    """Samples of the two have nothing to do with each other, though both were drawn by one seed."""
    import numpy as np

    return of_b / np.roll(of_a, len(of_a) // 2)


def _notes(a: LoadReport, b: LoadReport) -> list[str]:
    found = []
    if not a.is_beside(b):
        found.append(
            "they were measured one after the other: what the machine did meanwhile is in the difference and "
            "not in its interval (the argument `against` of a benchmark measures both in turns)"
        )
    for side, report in (("A", a), ("B", b)):
        failed = sum(level["requests"] - level["completed"] for level in report.levels)
        if failed:
            found.append(f"{failed} requests of {side} failed, and are in no latency")
        if not report.is_complete:
            found.append(f"{side} was stopped before its end")
    counted = [sorted({by for level in one.levels for by in level["counted_by"]}) for one in (a, b)]
    if counted[0] != counted[1]:
        found.append(f"tokens were counted by {' and '.join(counted[0])} (A), {' and '.join(counted[1])} (B)")
    lengths = [one.mean_tokens for one in (a, b)]
    if max(lengths) > 1.1 * min(lengths):
        found.append(f"answers are not equally long: {lengths[0]:.1f} tokens (A), {lengths[1]:.1f} (B)")
    return found


def render_comparison(found: LoadComparison, form: str = "table") -> str:
    """The comparison as `table`, `md` or `json`."""
    if form == "json":
        return json.dumps(found.document(), indent=2, sort_keys=True)
    table = text_table if form == "table" else markdown_table
    head = ("concurrency", "figure", "A", "B", "B / A", "95% interval", "p", "")
    rows = [_cells(row) for row in found.rows]
    parts = [f"A: {found.a}\nB: {found.b}", table(head, rows), *(f"Note: {note}." for note in found.notes)]
    return "\n\n".join(parts)


def _cells(row: LoadDifference) -> Sequence[str]:
    return (
        str(row.concurrency),
        row.name,
        ms_words(row.a),
        ms_words(row.b),
        f"{row.ratio:.2f}",
        f"{row.low:.2f} to {row.high:.2f}",
        p_words(row.p_value),
        row.verdict,
    )
