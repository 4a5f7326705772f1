"""The plots of a report, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SLICES = ("old", "new", "mixed")
_COLOURS = ("#35618f", "#c7812f", "#4f8a5b")
_INK = "#2b2f36"


def accuracy_svg(
    models: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]]
) -> str:
    """Grouped bars of exact match (0 to 1) on old, new and mixed test items; baselines are hatched."""
    names = [*models, *baselines]
    figure = _figure(8.4, 3.6)
    axes = figure.subplots()
    width = 0.26
    for offset, (part, colour) in enumerate(zip(_SLICES, _COLOURS, strict=True)):
        at = [index + (offset - 1) * width for index in range(len(names))]
        values = [{**models, **baselines}[name][part] * 100 for name in names]
        bars = axes.bar(
            at, values, width * 0.92, color=colour, label=f"{part} domains" if part != "mixed" else "all"
        )
        for bar, name in zip(bars, names, strict=True):
            if name in baselines:
                bar.set_alpha(0.45)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1, color=_INK)
    axes.set_xticks(range(len(names)), [_wrapped(name) for name in names], fontsize=8)
    axes.set_ylim(0, 108)
    axes.set_ylabel("exact match, %")
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, 1.14))
    return _svg(figure)


def loss_svg(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Training loss against step, a line a model, logarithmic."""
    figure = _figure(8.4, 2.8)
    axes = figure.subplots()
    for (name, points), colour in zip(curves.items(), _COLOURS, strict=False):
        axes.plot(
            [step for step, _ in points], [loss for _, loss in points], color=colour, lw=1.2, label=name
        )
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def drift_svg(windows: Mapping[str, Mapping[str, float]], alpha: float) -> str:
    """Corrected p-values of each test in each window, against the alarm line; logarithmic."""
    figure = _figure(8.4, 2.8)
    axes = figure.subplots()
    tests = list(next(iter(windows.values()), {}))
    height = 0.8 / max(1, len(windows))
    for index, ((name, p_values), colour) in enumerate(zip(windows.items(), _COLOURS, strict=False)):
        at = [row + (index - (len(windows) - 1) / 2) * height for row in range(len(tests))]
        axes.scatter(
            [max(p_values[test], 1e-4) for test in tests], at, color=colour, s=42, label=name, zorder=3
        )
    axes.axvline(alpha, color="#b3372f", lw=1.2, ls="--", label=f"alarm at {alpha:g}")
    axes.set_yticks(range(len(tests)), [test.replace("_", " ") for test in tests], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(5e-5, 1.5)
    axes.invert_yaxis()
    axes.set_xlabel("p-value, corrected for the number of tests")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, 1.2), ncols=3)
    return _svg(figure)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _wrapped(name: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, 14))
