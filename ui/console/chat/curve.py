"""A curve as the points of an SVG, with round marks on its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...reports.axis import AxisTick, round_marks

WIDTH, HEIGHT = 520, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22


@dataclass(frozen=True)
class CurvePlot:
    """What the template draws."""

    name: str
    points: str
    x_marks: tuple[AxisTick, ...]
    y_marks: tuple[AxisTick, ...]
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    bottom: int = HEIGHT - _BOTTOM


def curve(name: str, points: Sequence[tuple[int, float]]) -> CurvePlot | None:
    """The curve through (training step, value) points; None when fewer than two are finite."""
    points = [(at, value) for at, value in points if math.isfinite(value)]
    if len(points) < 2:
        return None
    xs, ys = [at for at, _ in points], [value for _, value in points]
    x_marks, y_marks = round_marks(min(xs), max(xs), 6), round_marks(min(ys), max(ys), 4)
    x0, x1 = min(xs), max(xs)
    y0, y1 = min(y_marks[0], min(ys)), max(y_marks[-1], max(ys))

    def x(at: float) -> float:
        return round(_LEFT + (at - x0) / ((x1 - x0) or 1) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - y0) / ((y1 - y0) or 1) * (HEIGHT - _TOP - _BOTTOM), 1)

    return CurvePlot(
        name=name,
        points=" ".join(f"{x(at)},{y(value)}" for at, value in points),
        x_marks=tuple(AxisTick(x(at), f"{at:g}") for at in x_marks if x0 <= at <= x1),
        y_marks=tuple(AxisTick(y(value), f"{value:g}") for value in y_marks),
        last=f"{ys[-1]:.4g}",
    )
