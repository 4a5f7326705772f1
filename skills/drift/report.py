"""What a drift report holds: the figures, the live texts that moved it, and four plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.files import canonical_json
from ...data.embed import words
from .checks import Comparison, Reference, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20
_GREY, _LIVE, _ALARM = "#9aa5b1", "#1f77b4", "#c23b22"
_SMALLEST_P = 1e-6


def examples(reference: Reference, window: Window, found: Comparison) -> dict[str, Any]:
    """The live texts that speak most for a difference, with the nearest reference text, and unknown words."""
    order = np.argsort(-found.meaning.witness, kind="stable")
    seen: set[str] = set()
    texts: list[dict[str, Any]] = []
    for i in order:
        text = window.texts[i]
        if text in seen or len(texts) == SHOWN:
            continue
        seen.add(text)
        nearness = reference.vectors @ found.vectors[i]
        nearest = int(np.argmax(nearness))
        texts.append(
            {
                "text": text,
                "output": window.outputs[i],
                "witness": round(float(found.meaning.witness[i]), 5),
                "nearest": reference.sample[nearest],
                "cosine": round(float(nearness[nearest]), 4),
            }
        )
    unknown = Counter(word for text in window.texts for word in set(reference.unknown(text)))
    return {"texts": texts, "unknown_words": [list(pair) for pair in unknown.most_common(SHOWN)]}


def write(
    folder: Path, about: dict[str, Any], reference: Reference, window: Window, found: Comparison
) -> None:
    """Write report.json, examples.json and the plots into a folder."""
    tests = [
        {
            "name": check.name,
            "statistic": check.statistic,
            "p": check.p,
            "p_corrected": check.p_corrected,
            "alarm": check.alarm,
            "decides": check.decides,
            "message": check.message,
            "detail": check.detail,
        }
        for check in found.checks
    ]
    (folder / "report.json").write_bytes(canonical_json({**about, "tests": tests}))
    (folder / "examples.json").write_bytes(canonical_json(examples(reference, window, found)))
    _save(folder / "tests.png", _p_values, found, about["level"])
    _save(folder / "embedding.png", _projection, reference, found)
    _save(folder / "length.png", _lengths, reference, window)
    _save(folder / "labels.png", _labels, found)


def _save(path: Path, draw: Any, *what: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=(6.4, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes, *what)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def _p_values(axes: Axes, found: Comparison, alpha: float) -> None:
    names = [check.name if check.decides else f"{check.name} (shown only)" for check in found.checks]
    heights = [-np.log10(max(check.p_corrected, _SMALLEST_P)) for check in found.checks]
    colours = [_ALARM if check.alarm else _GREY for check in found.checks]
    bars = axes.barh(names, heights, color=colours, height=0.6)
    axes.bar_label(bars, [f" p = {check.p_corrected:.2g}" for check in found.checks])
    axes.axvline(-np.log10(alpha), color="black", linewidth=1, linestyle="--")
    axes.set_xlim(0, max(*heights, -np.log10(alpha)) * 1.25)
    axes.set_ylim(len(names) - 0.4, -0.9)
    axes.text(-np.log10(alpha), -0.62, f" alarm: corrected p <= {alpha:g}", va="center")
    axes.set_xlabel("-log10 of the corrected p-value (longer: rarer by chance)")
    fired = [check.name for check in found.checks if check.alarm]
    axes.set_title(f"Drift alarm: {', '.join(fired)}" if fired else "No alarm by one test", loc="left")


def _projection(axes: Axes, reference: Reference, found: Comparison) -> None:
    """Both samples in the plane of their mean difference (x) and the widest spread across it (y)."""
    both = np.vstack([reference.vectors, found.vectors])
    shift = found.vectors.mean(axis=0) - reference.vectors.mean(axis=0)
    shift = shift / max(float(np.linalg.norm(shift)), 1e-12)
    across = both - both.mean(axis=0)
    across = across - np.outer(across @ shift, shift)
    widest = np.linalg.svd(across, full_matrices=False)[2][0]
    plane = np.stack([shift, widest], axis=1)
    was, now = reference.vectors @ plane, found.vectors @ plane
    axes.scatter(was[:, 0], was[:, 1], s=6, c=_GREY, label=f"reference ({len(was)})", linewidths=0)
    axes.scatter(now[:, 0], now[:, 1], s=10, c=_LIVE, label=f"live ({len(now)})", linewidths=0)
    axes.set_xlabel("along the difference of the two means")
    axes.set_ylabel("widest spread across it")
    axes.set_title("Texts by meaning (TF-IDF, SVD)", loc="left")
    axes.legend(frameon=False)


def _lengths(axes: Axes, reference: Reference, window: Window) -> None:
    from matplotlib.ticker import MaxNLocator

    live = np.array([len(words(text)) for text in window.texts])
    top = int(max(np.percentile(reference.lengths, 99.5), np.percentile(live, 99.5))) + 1
    edges = np.arange(0, top + 2) - 0.5
    for counts, colour, name in ((reference.lengths, _GREY, "reference"), (live, _LIVE, "live")):
        share = np.histogram(counts, edges)[0] / len(counts)
        axes.stairs(share, edges, color=colour, fill=name == "reference", linewidth=1.6, label=name)
    axes.set_xlim(-0.5, top + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("words a text")
    axes.set_ylabel("share of texts")
    axes.set_title("Texts by length", loc="left")
    axes.legend(frameon=False)


def _labels(axes: Axes, found: Comparison) -> None:
    shift = next((check for check in found.checks if check.name == "labels"), None)
    axes.set_title("Labels that moved most", loc="left")
    if shift is None:
        axes.text(0.5, 0.5, "no labels of held-out answers to compare with", ha="center", va="center")
        axes.set_axis_off()
        return
    moved: Sequence[dict[str, Any]] = shift.detail["moved"]
    places = np.arange(len(moved))
    axes.barh(
        places - 0.2, [row["expected"] for row in moved], 0.4, color=_GREY, label="as on held-out texts"
    )
    axes.barh(places + 0.2, [row["live"] for row in moved], 0.4, color=_LIVE, label="live")
    axes.set_yticks(places, [row["label"] for row in moved], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("answers in the window")
    axes.legend(frameon=False)
