"""Geometry of the plots of a profile: a histogram of lengths, and how many rows each label has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460, 150
LEFT, RIGHT, TOP, BOTTOM = 8, 452, 18, 126
_GAP = 2
_MOST, _LEAST = 14, 6  # labels drawn, where there are more than both
_ROW = 18
_LABEL_LEFT, _LABEL_RIGHT = 178, 400


@dataclass(frozen=True)
class Bar:
    """A bar in the picture, what stands below or beside it, and what is said of it."""

    x: float
    y: float
    width: float
    height: float
    name: str
    message: str


@dataclass(frozen=True)
class BarPlot:
    """BarPlot with the size of their picture; left_out: values that have none."""

    bars: tuple[Bar, ...]
    width: int
    height: int
    left_out: int = 0


def histogram(bins: Sequence[tuple[int, int]]) -> BarPlot:
    """Upright bars of (greatest length, texts), as `Lengths.bins` has them."""
    most = max((n for _, n in bins), default=0) or 1
    step = (RIGHT - LEFT) / max(len(bins), 1)
    bars = []
    for place, (end, n) in enumerate(bins):
        high = (BOTTOM - TOP) * n / most
        bars.append(
            Bar(
                round(LEFT + place * step, 1),
                round(BOTTOM - high, 1),
                round(step - _GAP, 1),
                round(high, 1),
                f"{end:,}",
                f"up to {end:,}: {n:,} texts",
            )
        )
    return BarPlot(tuple(bars), WIDTH, HEIGHT)


def label_bars(labels: Sequence[tuple[str, int]]) -> BarPlot:
    """Lying bars of (label, rows) by falling number: of many labels those with most and with fewest rows."""
    most = max((n for _, n in labels), default=0) or 1
    shown = labels if len(labels) <= _MOST + _LEAST else [*labels[:_MOST], *labels[-_LEAST:]]
    bars = tuple(
        Bar(
            _LABEL_LEFT,
            place * _ROW + 3,
            round(max((_LABEL_RIGHT - _LABEL_LEFT) * n / most, 1), 1),
            _ROW - 7,
            label,
            f"{n:,}",
        )
        for place, (label, n) in enumerate(shown)
    )
    return BarPlot(bars, WIDTH, len(bars) * _ROW + 4, len(labels) - len(shown))
