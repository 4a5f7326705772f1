"""The plots of quality against a price: where every mark and name goes, for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Any

from ...evals.leaderboard import LeaderboardRow, ms_words, size_words
from ...evals.standings import PRICES
from .axis import AxisTick

WIDTH, HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 44
_LABEL_HEIGHT = 15
_LETTER_WIDTH = 6.7  # of the 12 px text, a little more than the average


@dataclass(frozen=True)
class ModelMark:
    """One model: its point, its interval's ends, and where its name starts or ends."""

    name: str
    kind: str
    x: float
    y: float
    y_low: float
    y_high: float
    label_x: float
    label_y: float
    anchor: str
    message: str
    on_front: bool


@dataclass(frozen=True)
class Scatter:
    """The plot of one suite against one price; `unplaced` are the lines whose price is not known.

    front: the staircase below which a model is beaten, as the points of a polyline; empty below two models.
    """

    suite: str
    metric: str
    price: str
    marks: tuple[ModelMark, ...]
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]
    unplaced: tuple[str, ...]
    front: str = ""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of models in it."""
        return tuple(dict.fromkeys(mark.kind for mark in self.marks))


def scatters(lines: Sequence[LeaderboardRow]) -> list[Scatter]:
    """A plot for each version of a suite and each price that a model of it has, in the order of the lines."""
    boards: dict[tuple[str, str], list[LeaderboardRow]] = {}
    for line in lines:
        boards.setdefault((line.suite_digest, line.metric), []).append(line)
    plots = [[scatter(board, price) for price in PRICES] for board in boards.values()]
    return [plot for of_board in plots for at, plot in enumerate(of_board) if plot.marks or at == 0]


def scatter(lines: Sequence[LeaderboardRow], price: str = "latency") -> Scatter:
    """The price of each line, logarithmic, against the value with its 95 % interval; all of one suite."""
    placed = [(line, paid) for line in lines if (paid := PRICES[price](line)) is not None]
    unplaced = dict.fromkeys(line.name for line in lines if PRICES[price](line) is None)
    empty = Scatter(lines[0].suite, lines[0].metric, price, (), (), (), tuple(unplaced))
    if not placed:
        return empty
    say = _WORDS[price]
    x_ticks = _log_ticks([paid for _, paid in placed])
    y_ticks = _share_ticks(min(line.low for line, _ in placed), max(line.high for line, _ in placed))

    def x_of(paid: float) -> float:
        low, high = math.log(x_ticks[0]), math.log(x_ticks[-1])
        return empty.left + (math.log(paid) - low) / (high - low) * (empty.right - empty.left)

    def y_of(share: float) -> float:
        low, high = y_ticks[0], y_ticks[-1]
        return empty.bottom - (share - low) / (high - low) * (empty.bottom - empty.top)

    marks = [
        ModelMark(
            name=line.name,
            kind=line.kind,
            x=_round(x_of(paid)),
            y=_round(y_of(line.value)),
            y_low=_round(y_of(line.low)),
            y_high=_round(y_of(line.high)),
            **_label(x_of(paid), line.name, empty.right),
            label_y=_round(y_of(line.value)),
            message=f"{line.name}: {line.value:.1%} ({line.low:.1%}-{line.high:.1%}), {say(paid)}",
            on_front=price in line.fronts,
        )
        for line, paid in placed
    ]
    return replace(
        empty,
        marks=tuple(_spread(marks, empty.top + _LABEL_HEIGHT / 2, empty.bottom - _LABEL_HEIGHT / 2)),
        x_ticks=tuple(AxisTick(_round(x_of(tick)), _TICKS[price](tick)) for tick in x_ticks),
        y_ticks=tuple(AxisTick(_round(y_of(share)), f"{share:.0%}") for share in y_ticks),
        front=_staircase([mark for mark in marks if mark.on_front]),
    )


_WORDS: Mapping[str, Callable[[float], str]] = {
    "latency": lambda ms: f"p50 {ms_words(ms)} ms",
    "size": lambda size: size_words(int(size)),
}
_TICKS: Mapping[str, Callable[[float], str]] = {
    "latency": lambda ms: f"{ms:g}",
    "size": lambda size: f"{size / 1e6:g}",
}


def _staircase(marks: Sequence[ModelMark]) -> str:
    """Up at each mark, level to the next."""
    ordered = sorted(marks, key=lambda mark: mark.x)
    corners = [(after.x, before.y) for before, after in pairwise(ordered)]
    steps = zip_longest(((mark.x, mark.y) for mark in ordered), corners)
    points = [point for step in steps for point in step if point is not None]
    return " ".join(f"{x:g},{y:g}" for x, y in points) if len(ordered) > 1 else ""


def _round(value: float) -> float:
    return round(value, 1)


def _label(x: float, name: str, right: float) -> dict[str, Any]:
    """Right of the mark, or left of it where the name would leave the plot."""
    if x + 9 + len(name) * _LETTER_WIDTH <= right:
        return {"label_x": _round(x + 9), "anchor": "start"}
    return {"label_x": _round(x - 9), "anchor": "end"}


def _spread(marks: Sequence[ModelMark], top: float, bottom: float) -> list[ModelMark]:
    """The marks with names set apart: each is moved down as far as it must, then up to fit."""
    ordered = sorted(marks, key=lambda mark: (mark.y, mark.x, mark.name))
    heights: list[float] = []
    for mark in ordered:
        heights.append(max(mark.y, heights[-1] + _LABEL_HEIGHT if heights else top))
    limit = bottom
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], limit)
        limit = heights[index] - _LABEL_HEIGHT
    return [replace(mark, label_y=_round(at)) for mark, at in zip(ordered, heights, strict=True)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10, ... from the last below every value to the first above."""
    low, high = min(values), max(values)
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
    first = max(index for index, tick in enumerate(ticks) if tick <= low * 0.95)
    last = min(index for index, tick in enumerate(ticks) if tick >= high * 1.05)
    return ticks[first : last + 1]


def _share_ticks(low: float, high: float) -> list[float]:
    """Multiples of the finest of 1, 2, 5, 10, 20 % that gives at most seven, around both ends."""
    for step in (1, 2, 5, 10, 20):
        first, last = math.floor(low * 100 / step), math.ceil(high * 100 / step)
        last = max(last, first + 1)
        if last - first <= 6:
            break
    return [step * index / 100 for index in range(first, last + 1)]
