"""A dataset's card: what was kept, what was left out and why, what it looks like; as JSON and as one page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.html_page import render_page
from .filters.language import script_of
from .rows import Dropped
from .sample import Sample, asked_of

CARD, PAGE = "card.json", "card.html"
_EXAMPLES = 3
_SHOWN_CHARS = 160
_LABELS_SHOWN = 40


@dataclass
class RowCounts:
    """What is counted of the rows of a dataset as they are written; no row is kept."""

    asked_chars: Counter[int] = field(default_factory=Counter)
    answer_chars: Counter[int] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample, answer: str) -> None:
        """Count a row."""
        asked = asked_of(sample)
        self.asked_chars[len(asked)] += 1
        self.answer_chars[len(answer)] += 1
        self.turns[sum(one["role"] == "user" for one in sample.messages)] += 1
        self.scripts[script_of(asked)] += 1
        for name in ("licence", "license"):
            if name in sample.tags:
                self.licences[sample.tags[name]] += 1

    def document(self) -> dict[str, Any]:
        """The counts as plain JSON: lengths as quantiles in characters, the rest most frequent first."""
        return {
            "asked_chars": quantiles(self.asked_chars),
            "answer_chars": quantiles(self.answer_chars),
            "user_turns": quantiles(self.turns),
            "scripts": most_first(self.scripts),
            "licences": most_first(self.licences),
        }


def quantiles(counts: Mapping[int, int]) -> dict[str, int]:
    """Least, median, 95th percentile and most of values that are counted; empty without any."""
    total, passed = sum(counts.values()), 0
    found: dict[str, int] = {}
    for value in sorted(counts):
        passed += counts[value]
        for name, share in (("least", 0.0), ("median", 0.5), ("p95", 0.95), ("most", 1.0)):
            if name not in found and passed > 0 and passed >= share * total:
                found[name] = value
    return found


def most_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Names with their counts, the most frequent first; ties by alphabet."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


class DroppedExamples:
    """The first rows left out for each reason."""

    def __init__(self) -> None:
        self._first: dict[str, list[dict[str, str]]] = {}

    def add(self, row: Dropped) -> None:
        """Keep a row when few of its reason are kept."""
        kept = self._first.setdefault(str(row.reason), [])
        if len(kept) < _EXAMPLES:
            texts = {"text": row.text, "answer": row.label, "why": row.detail}
            where = {"where": f"{row.source} row {row.row}"}
            kept.append(where | {name: text[:_SHOWN_CHARS] for name, text in texts.items() if text})

    def document(self) -> dict[str, list[dict[str, str]]]:
        """The rows by reason."""
        return dict(sorted(self._first.items()))


def make_card(
    report: Mapping[str, Any], profile: RowCounts, examples: DroppedExamples, made_of: Iterable[str]
) -> dict[str, Any]:
    """The card of a dataset, from its report and from what was counted while it was written."""
    labels = most_first(report["rows_of_label"])
    names = (
        "task",
        "columns",
        "unused",
        "rows",
        "train_rows",
        "validation_rows",
        "groups",
        "leaked",
        "near_golden",
    )
    return {
        **{name: report[name] for name in names},
        "dropped": {
            reason: {"rows": n, "examples": examples.document().get(reason, [])}
            for reason, n in most_first(report["dropped"]).items()
        },
        "labels": {
            "different": len(labels),
            "rows_of_label": dict(list(labels.items())[:_LABELS_SHOWN]),
            "rarest": min(labels.values(), default=0),
        },
        "masked_rows": report["masked_rows"],
        "replay_rows": report["replay_rows"],
        **profile.document(),
        "made_of": list(made_of),
        "settings": report["settings"],
    }


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Put card.json and card.html into a dataset's folder."""
    (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(render_card(card), encoding="utf-8")


def render_card(card: Mapping[str, Any]) -> str:
    """The card as a page of one file that loads nothing; whatever rows hold is shown as text."""
    return render_page("Dataset card", _BODY, card=card)


_BODY = """\
{% macro counts(title, rows, head) %}
{% if rows %}
<table><caption>{{ title }}</caption><tr><th>{{ head }}</th><th>rows</th></tr>
{% for name, n in rows.items() %}
<tr><td>{{ name }}</td><td class="n">{{ n }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% endmacro %}
<p>{{ card.rows }} rows for the task <b>{{ card.task }}</b>: {{ card.train_rows }} to train on,
{{ card.validation_rows }} held out, in {{ card.groups }} groups that no split parts.
{% if card.replay_rows %}{{ card.replay_rows }} were replayed from an earlier dataset.{% endif %}
{% if card.masked_rows %}In {{ card.masked_rows }} personal data was masked.{% endif %}</p>
<table><caption>Columns</caption><tr><th>column</th><th>taken as</th></tr>
{% for name, part in card.columns.items() %}
<tr><td>{{ name }}</td><td>{{ part }}</td></tr>
{% endfor %}
{% for name, n in card.unused.items() %}
<tr><td>{{ name }}</td><td>not taken ({{ n }} rows held something)</td></tr>
{% endfor %}
</table>
<table><caption>Left out</caption><tr><th>reason</th><th>rows</th><th>for example</th></tr>
{% for reason, one in card.dropped.items() %}
<tr><td>{{ reason }}</td><td class="n">{{ one.rows }}</td><td>
{% for row in one.examples %}
{{ row.where }}: <code>{{ row.text | default("") }}</code>
{% if row.why is defined %} ({{ row.why }}){% endif %}<br>
{% endfor %}
</td></tr>
{% else %}
<tr><td>nothing</td><td class="n">0</td><td></td></tr>
{% endfor %}
</table>
{{ counts("Rows of the golden set that were found and left out", card.leaked, "found") }}
{% if card.near_golden is defined and card.near_golden %}
<table><caption>Near a golden row in meaning, by an embedder: {{ card.near_golden.near }};
not compared: {{ card.near_golden.not_compared }}</caption>
{% for row in card.near_golden.examples %}
<tr><td>{{ row.where }}</td><td><code>{{ row.text }}</code></td><td>{{ row.why }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if card.labels.different %}
{{ counts("Labels: " ~ card.labels.different ~ ", the rarest with " ~ card.labels.rarest ~ " rows",
          card.labels.rows_of_label, "label") }}
{% endif %}
<table><caption>Lengths</caption>
<tr><th></th><th>least</th><th>median</th><th>95th percentile</th><th>most</th></tr>
{% for title, one in (("asked, characters", card.asked_chars), ("answered, characters", card.answer_chars),
                      ("user turns", card.user_turns)) %}
<tr><td>{{ title }}</td>
{% for name in ("least", "median", "p95", "most") %}<td class="n">{{ one[name] }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{{ counts("Scripts", card.scripts, "script") }}
{{ counts("Licences, by the rows' own tags", card.licences, "licence") }}
<table><caption>Made of</caption>
{% for ref in card.made_of %}
<tr><td><code>{{ ref }}</code></td></tr>
{% else %}
<tr><td>its source alone: no golden set was kept out, nothing replayed</td></tr>
{% endfor %}
</table>
"""
