"""A benchmark as a picture, and as one HTML page that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core import html_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"p50": "#35618f", "p95": "#c7812f", "p99": "#b3372f"}
_TITLES = {"ttft_ms": "time to first token, ms", "e2el_ms": "end-to-end latency, ms"}


def save_plot(levels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Put the picture into a PNG file; the same bytes for the same figures."""
    _figure(levels).savefig(path, metadata={"Software": None})


def render_page(facts: Mapping[str, Any], png: bytes) -> str:
    """The page: who was measured, the picture, a line for each concurrency, what to know."""
    picture = base64.b64encode(png).decode()
    return html_page.render_page("Benchmark", _BODY, facts=facts, picture=picture, ms=_ms)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _figure(levels: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    at = [str(level["concurrency"]) for level in levels]
    *latencies, rate = figure.subplots(1, 3)
    for axes, (name, title) in zip(latencies, _TITLES.items(), strict=True):
        for label, colour in _COLOURS.items():
            told = [(x, level[name]) for x, level in zip(at, levels, strict=True) if level[name] is not None]
            values = [found[label] for _, found in told]
            bars = [
                [max(0.0, found[label] - found[f"{label}_low"]) for _, found in told],
                [max(0.0, found[f"{label}_high"] - found[label]) for _, found in told],
            ]
            axes.errorbar(
                [x for x, _ in told], values, yerr=bars, fmt="o-", ms=4, lw=1, color=colour, label=label
            )
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
    rate.bar(
        at, [level["output_tokens_per_s"]["value"] for level in levels], color=_COLOURS["p50"], width=0.5
    )
    rate.set_title("output tokens per second", fontsize=9)
    for axes in figure.axes:
        axes.set_xlabel("requests at a time", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    latencies[0].legend(frameon=False, fontsize=8)
    return figure


_BODY = """\
<p>{{ facts.model }}: <b>{{ facts.server.name }}</b>, model {{ facts.server.model }}
{%- if facts.server.max_model_len %}, at most {{ facts.server.max_model_len }} tokens{% endif %}.
Prompts of {{ facts.prompts }}, {{ facts.workload.output_tokens }} output tokens
{{ "exactly" if facts.fixed_length else "at most" }}; {{ facts.warmup }} requests of warm-up before each level
{%- if not facts.is_complete %}. <b>It was stopped before its end</b>{% endif %}.</p>
<p><img alt="latencies and tokens per second by concurrency" src="data:image/png;base64,{{ picture }}"></p>
{% for name, title in (("ttft_ms", "Time to first token (TTFT), ms"), ("tpot_ms",
  "Time per output token after the first (TPOT), ms"), ("itl_ms", "Between chunks (ITL), ms"),
  ("e2el_ms", "End-to-end latency (E2EL), ms")) %}
<table class="figures"><caption>{{ title }}</caption>
<tr><th>at a time</th><th>mean</th><th>p50</th><th>95 % interval</th><th>p95</th><th>95 % interval</th>
<th>p99</th></tr>
{% for level in facts.levels if level[name] %}
<tr><td>{{ level.concurrency }}</td><td>{{ ms(level[name].mean) }}</td>
{% for label in ("p50", "p95") %}
<td>{{ ms(level[name][label]) }}</td>
<td>{% if level[name][label ~ "_low"] is defined %}{{ ms(level[name][label ~ "_low"]) }} to
{{ ms(level[name][label ~ "_high"]) }}{% else %}-{% endif %}</td>
{% endfor %}
<td>{{ ms(level[name].p99) }}</td></tr>
{% endfor %}
</table>
{% endfor %}
<table class="figures"><caption>Rates and failures</caption>
<tr><th>at a time</th><th>output tokens/s</th><th>95 % interval</th><th>requests/s</th>
<th>goodput, requests/s</th>
<th>whole</th><th>failed</th><th>of them</th><th>seconds</th></tr>
{% for level in facts.levels %}
<tr><td>{{ level.concurrency }}</td><td>{{ ms(level.output_tokens_per_s.value) }}</td>
<td>{{ ms(level.output_tokens_per_s.low) }} to {{ ms(level.output_tokens_per_s.high) }}</td>
<td>{{ ms(level.requests_per_s.value) }}</td><td>{{ ms(level.goodput_requests_per_s | default(none)) }}</td>
<td>{{ level.completed }}</td><td>{{ level.requests - level.completed }}</td>
<td>{% for kind, n in level.errors.items() %}{{ n }} {{ kind }} {% else %}-{% endfor %}</td>
<td>{{ ms(level.seconds) }}</td></tr>
{% endfor %}
</table>
{% if facts.note %}<p>{{ facts.note }}.</p>{% endif %}
<p>Latencies are of whole answers alone; intervals are by bootstrap over blocks of neighbouring requests.
They hold the noise within this run, not how the machine is on another day.</p>
"""
