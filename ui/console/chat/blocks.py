"""Blocks: what an answer is made of, as plain JSON that is kept, and turned into HTML when it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ....core.gate import Decision, Verdict
from ...show import is_brief, note_of, short

Block = dict[str, Any]
Tone = Literal["", "soft", "accent", "good", "warn", "bad"]

DECISION_TONE: dict[str, Tone] = {Decision.GO: "good", Decision.NO_GO: "bad", Decision.INCONCLUSIVE: "warn"}
STATE_TONE: dict[str, Tone] = {
    **dict.fromkeys(("done", "reused"), "good"),
    "running": "accent",
    **dict.fromkeys(("waiting", "approved", "stopped", "denied", "rolled_back"), "warn"),
    **dict.fromkeys(("failed", "refused"), "bad"),
}
_ROWS = 100
_NUMBER = re.compile(r"[-+\u2212]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( ?(%|[kMGT]?B|ms|s|min|h))?")


def text(message: str, tone: Tone = "") -> Block:
    """A sentence in one tone; markup in it is shown as text."""
    return {"type": "text", "text": message, "tone": tone}


def cell(message: str, tone: Tone = "", *, command: str = "", href: str = "") -> dict[str, str]:
    """A table's cell: coloured, or a command to take into the input, or a link within the console."""
    return {"text": message, "tone": tone, "command": command, "href": href}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> Block:
    """A table; numbers are set right, a long one is cut and says so."""
    every = [list(row) for row in rows]
    return {
        "type": "table",
        "title": title,
        "columns": list(columns),
        "rows": every[:_ROWS],
        "numbers": [
            _is_of_numbers(row[place] for row in every if place < len(row)) for place in range(len(columns))
        ],
        "left_out": max(0, len(every) - _ROWS),
    }


def _is_of_numbers(values: Iterable[Any]) -> bool:
    """Whether a column has figures, and nothing else where it is not empty."""
    told = [str(value["text"] if isinstance(value, Mapping) else value) for value in values]
    return any(told) and all(_NUMBER.fullmatch(one) for one in told if one)


def pre(message: str) -> Block:
    """Text as it is laid out."""
    return {"type": "pre", "text": message}


def commands(message: Mapping[str, str]) -> Block:
    """Commands with what each does, to take into the input; one with words in capitals is only begun."""
    listed = [{"label": label, "text": _begun(label), "message": words} for label, words in message.items()]
    return {"type": "commands", "commands": listed}


def _begun(usage: str) -> str:
    """What is typed of a usage such as `/plan FILE`: as much as is not a place for something."""
    words = usage.split(" ")
    places = [place for place, word in enumerate(words) if word.strip("[]").isupper()]
    return usage if not places else " ".join(words[: places[0]]) + " "


def passage(title: str, words: str, link_text: str = "", href: str = "") -> Block:
    """What was found in the record or the guide: its title, where it stands, and its words run together."""
    return {
        "type": "passage",
        "title": title,
        "text": " ".join(words.split()),
        "link": link_text,
        "href": href,
    }


def link(message: str, href: str) -> Block:
    """A link within the console, or to a server of this machine."""
    return {"type": "link", "text": message, "href": href}


def verdict(found: Verdict) -> list[Block]:
    """A verdict with the rows behind it, intervals and all."""
    rows = [
        [
            row.name,
            cell(row.decision_in_words, DECISION_TONE[row.decision]),
            row.in_words(row.got),
            row.in_words(row.bar),
            row.interval_in_words,
            "" if row.n is None else f"{row.n:,}",
            row.message,
        ]
        for row in found.rows
    ]
    return [
        text(f"Verdict: {found.decision}", DECISION_TONE[found.decision]),
        table(["check", "decision", "got", "bar", "interval", "n", "meaning"], rows),
        *(text(f"note: {note}", "soft") for note in found.notes),
    ]


def result(values: Mapping[str, Any]) -> list[Block]:
    """What a step gave: its verdict, its rows, what it laid out itself, or its figures."""
    if "verdict" in values and isinstance(values["verdict"], Mapping):
        return verdict(Verdict.model_validate(values["verdict"]))
    rows = values.get("rows")
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
        return [_rows(rows)]
    if isinstance(values.get("text"), str):
        return [pre(values["text"])]
    brief = {name: short(value) for name, value in values.items() if is_brief(value) and value != ""}
    sentence = [text(brief.pop("message"))] if "message" in brief else []
    note = note_of(values)
    if note:
        brief.pop("note", None)
    facts = [{"type": "facts", "facts": brief}] if brief else []
    notes = [text(f"note: {note}", "warn")] if note else []
    return [*sentence, *facts, *notes] or [text("done", "soft")]


def _rows(rows: Sequence[Mapping[str, Any]]) -> Block:
    """Rows of a result as a table of what fits a cell."""
    if all({"model", "suite", "value", "low", "high", "n"} <= row.keys() for row in rows):
        return _measured(rows)
    columns = [name for name in rows[0] if any(is_brief(row.get(name)) for row in rows)]
    return table(
        [name.replace("_", " ") for name in columns],
        ([short(row[name]) if is_brief(row.get(name)) else "" for name in columns] for row in rows),
    )


def _measured(rows: Sequence[Mapping[str, Any]]) -> Block:
    """Models on suites, with what tells them apart; the leaderboard page has the rest."""
    from ....evals.leaderboard import ms_words, size_words  # the first page needs none of it

    def cells(row: Mapping[str, Any]) -> list[Any]:
        p50_ms, size = row.get("p50_ms"), row.get("size_bytes")
        verdict = str(row.get("verdict") or "")
        return [
            short(row["model"]),
            row.get("kind", ""),
            row["suite"],
            f"{row['value']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            f"{row['n']:,}",
            "" if p50_ms is None else ms_words(p50_ms),
            "" if size is None else size_words(size),
            short(row.get("train_dataset") or ""),
            cell(verdict, DECISION_TONE.get(verdict, "")),
        ]

    columns = [
        "model",
        "kind",
        "suite",
        "value",
        "95 % interval",
        "n",
        "p50 ms",
        "size",
        "trained on",
        "verdict",
    ]
    return table(columns, map(cells, rows))
