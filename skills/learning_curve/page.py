"""A learning curve as a picture, and as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import html_page
from ...evals.learning_curve import LearningCurve, sizes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _LAW, _FORECAST = "#35618f", "#9aa5b1", "#c7812f"
_ALONG = 100  # points of the drawn law


def save_plot(curve: LearningCurve, path: Path) -> None:
    """Put the picture into a PNG file; the same bytes for the same curve."""
    _figure(curve).savefig(path, metadata={"Software": None})


def render_page(curve: LearningCurve) -> str:
    """The page: the sentence, the picture, a line for each training."""
    png = io.BytesIO()
    _figure(curve).savefig(png, format="png", metadata={"Software": None})
    picture = base64.b64encode(png.getvalue()).decode()
    return html_page.render_page("Learning curve", _BODY, curve=curve, picture=picture)


def _figure(curve: LearningCurve) -> Figure:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    figure = Figure(figsize=(6.8, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = [point.rows for point in curve.points]
    values = [point.value for point in curve.points]
    bars = [[p.value - p.low for p in curve.points], [p.high - p.value for p in curve.points]]
    axes.errorbar(
        rows, values, yerr=bars, fmt="o", ms=4, lw=1, color=_INK, label="one training, 95 % of items"
    )
    if curve.law is not None and not curve.unclear:
        along = np.geomspace(rows[0], max(one.x for one in curve.forecasts), _ALONG)
        law = [min(1.0, max(0.0, curve.law.at(x))) for x in along]
        axes.plot(along, law, color=_LAW, lw=1.2, label="saturating power law")
        at, ahead = [one.x for one in curve.forecasts], [one.value for one in curve.forecasts]
        spread = [
            [max(0.0, one.value - one.low) for one in curve.forecasts],
            [max(0.0, one.high - one.value) for one in curve.forecasts],
        ]
        axes.errorbar(at, ahead, yerr=spread, fmt="s", ms=4, lw=1, color=_FORECAST, label="forecast, 95 %")
    axes.set_xscale("log")
    ticks = [*sizes_of(rows), *(round(one.x) for one in curve.forecasts)]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training rows (logarithmic)")
    axes.set_ylabel(curve.metric)
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


_BODY = """\
<p>{{ curve.metric }} on the {{ curve.items }} items of suite <b>{{ curve.suite }}</b>, by training rows.</p>
<p><b>{{ curve.in_words }}</b></p>
<p><img alt="{{ curve.metric }} against training rows" src="data:image/png;base64,{{ picture }}"></p>
<table class="figures"><caption>Trainings</caption>
<tr><th>rows</th><th>seed</th><th>steps</th><th>{{ curve.metric }}</th><th>95 % interval</th>
<th>report</th></tr>
{% for point in curve.points %}
<tr><td>{{ "{:,}".format(point.rows) }}</td><td>{{ point.seed }}</td><td>{{ "{:,}".format(point.steps) }}</td>
<td>{{ "{:.1%}".format(point.value) }}</td>
<td>{{ "{:.1%}".format(point.low) }} to {{ "{:.1%}".format(point.high) }}</td><td>{{ point.report }}</td></tr>
{% endfor %}
</table>
{% if curve.forecasts %}
<table class="figures"><caption>Forecasts</caption>
<tr><th>rows</th><th>{{ curve.metric }}</th><th>95 % interval</th><th>gain, points</th>
<th>95 % interval</th></tr>
{% for one in curve.forecasts %}
<tr><td>{{ "{:,.0f}".format(one.x) }}</td><td>{{ "{:.1%}".format(one.value) }}</td>
<td>{{ "{:.1%}".format(one.low) }} to {{ "{:.1%}".format(one.high) }}</td>
<td>{{ "{:+.1f}".format(100 * one.gain) }}</td>
<td>{{ "{:+.1f}".format(100 * one.gain_low) }} to {{ "{:+.1f}".format(100 * one.gain_high) }}</td></tr>
{% endfor %}
</table>
{% endif %}
<p>Fewer rows were also fewer steps, as the table shows: the epochs were the same for all. The intervals hold
the noise of the items and of the trainings, not that new rows may differ from these.</p>
"""
