"""Geometry of the small plots on the pages: scales, ticks and paths; a template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...reports.axis import AxisTick, round_marks

WIDTH, HEIGHT = 460, 176
LEFT, RIGHT, TOP, BOTTOM = 46, 450, 12, 146
_TIMES = 5  # ticks on a time axis
_LEVELS = 4


@dataclass(frozen=True)
class Series:
    """A series to draw; None is a gap. `tone` is a colour of the style sheet."""

    name: str
    values: Sequence[float | None]
    tone: int = 0
    is_dashed: bool = False


@dataclass(frozen=True)
class SeriesPath:
    """A drawn series: a path, and each value with what to say about it."""

    name: str
    path: str
    dots: tuple[tuple[float, float, str], ...]
    tone: int
    is_dashed: bool


@dataclass(frozen=True)
class Chart:
    """A plot of series over time."""

    title: str
    paths: tuple[SeriesPath, ...]
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]
    is_empty: bool
    marks: tuple[AxisTick, ...] = ()  # moments of note, as vertical lines

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM


def time_chart(
    title: str,
    unit: str,
    times: Sequence[datetime],
    bucket_s: int,
    lines: Sequence[Series],
    marks: Sequence[tuple[datetime, str]] = (),
) -> Chart:
    """Series over time, each value in the middle of its bucket; the value axis starts at zero."""
    highest = max((value for line in lines for value in line.values if value is not None), default=0.0)
    levels = level_ticks(highest)
    top = levels[-1]
    count = max(1, len(times))

    def x(index: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * index / count, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * value / top, 1)

    paths = []
    for line in lines:
        dots = tuple(
            (x(i + 0.5), y(value), f"{line.name}: {figure(value)}{unit}, {time_text(times[i], bucket_s)} UTC")
            for i, value in enumerate(line.values)
            if value is not None
        )
        paths.append(SeriesPath(line.name, _path(line.values, x, y), dots, line.tone, line.is_dashed))
    step = max(1, math.ceil(len(times) / _TIMES))
    x_ticks = tuple(AxisTick(x(i), time_text(times[i], bucket_s)) for i in range(0, len(times), step))
    y_ticks = tuple(AxisTick(y(level), figure(level)) for level in levels)
    seen = tuple(
        AxisTick(x((at - times[0]).total_seconds() / bucket_s), message)
        for at, message in marks
        if times and 0 <= (at - times[0]).total_seconds() <= bucket_s * len(times)
    )
    return Chart(title, tuple(paths), x_ticks, y_ticks, highest == 0, seen)


def level_ticks(highest: float) -> list[float]:
    """Round values from zero to the first that is not below the highest, five at most."""
    return [0.0, 1.0] if highest <= 0 else round_marks(0.0, highest, _LEVELS)


def figure(value: float) -> str:
    """A value to three digits, with thousands set apart."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def time_text(moment: datetime, bucket_s: int) -> str:
    """A time as finely as buckets of that length ask."""
    return moment.strftime("%H:%M:%S" if bucket_s < 60 else "%H:%M" if bucket_s < 3600 else "%m-%d %H:%M")


def _path(values: Sequence[float | None], x, y) -> str:  # type: ignore[no-untyped-def]
    parts, is_down = [], False
    for index, value in enumerate(values):
        if value is None:
            is_down = False
            continue
        parts.append(f"{'L' if is_down else 'M'}{x(index + 0.5)} {y(value)}")
        is_down = True
    return " ".join(parts)
