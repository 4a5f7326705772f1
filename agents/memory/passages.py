"""A passage: a few sentences about one thing that happened or is documented, and where it can be checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.text import one_line
from ...data.personal import mask

KINDS = {
    "record": "a ledger record: who did what, when",
    "run": "a run: its goal, who asked and approved, how it ended, what it took",
    "plan": "a plan: steps, arguments, gates",
    "verdict": "a gate's or a promotion's verdict, row by row",
    "report": "an evaluation: figures, slices, baselines",
    "dataset": "a dataset's card: rows, what was left out and why",
    "model": "a checkpoint, an engine or a guardrail config",
    "drift": "a drift report",
    "release": "a change of what an endpoint serves",
    "docs": "the guide and the reference",
}
_VALUE_CHARS = 300
_LONGEST = 4000  # characters of a passage
_REFERENCE = re.compile(r"\b([a-z][a-z-]*:[0-9a-f]{12})[0-9a-f]{52}\b")
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


@dataclass(frozen=True)
class Passage:
    """What can be found and cited. seq: the ledger record that proves it, 0 for documentation.

    time: microseconds since 1970, UTC; 0 for documentation. source: what a person opens it with. anchor: of
    its section there. asked_as: other words by which people ask for it; searched, not shown.
    """

    id: str
    kind: str
    title: str
    text: str
    seq: int = 0
    run: str = ""
    endpoint: str = ""
    time: int = 0
    source: str = ""
    anchor: str = ""
    asked_as: str = ""

    @property
    def searched(self) -> str:
        """Title and text: what it says."""
        return f"{self.title}\n{self.text}"

    @property
    def indexed(self) -> str:
        """What it says, and other words by which people ask for it."""
        return f"{self.searched}\n{self.asked_as}" if self.asked_as else self.searched


def passage_text(sentences: Sequence[str]) -> str:
    """Sentences as one text: references by 12 digits, personal data masked, at most 4,000 characters."""
    text = " ".join(one_line(sentence) for sentence in sentences if sentence)
    return mask(shortened(text))[:_LONGEST]


def shortened(text: str) -> str:
    """The text with each reference and digest by its first 12 digits, as the screens show them."""
    return _DIGEST.sub(r"\1", _REFERENCE.sub(r"\1", text))


def in_words(values: Mapping[str, Any], skip: frozenset[str] = frozenset()) -> str:
    """A JSON object as `name value` pairs, nested names joined; what is empty or skipped is left out."""
    return "; ".join(f"{name} {value}" for name, value in _pairs(values, skip))


def _pairs(values: Mapping[str, Any], skip: frozenset[str], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if name in skip or value is None or value in ("", [], {}):
            continue
        path = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _pairs(value, skip, f"{path} ")
        else:
            yield path, one_value(value)


def one_value(value: Any) -> str:
    """One value as text: figures by four digits, lists by their items, long texts cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if all(isinstance(one, str | int | float) for one in value):
            return ", ".join(one_value(one) for one in value[:40])
        return json.dumps(value, ensure_ascii=False)[:_VALUE_CHARS]
    text = one_line(str(value))
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}…"


def figure_words(value: float) -> str:
    """A figure by four digits; one between 0 and 1 as per cent too."""
    return f"{value:.4g} ({value:.1%})" if 0 < abs(value) <= 1 else f"{value:.4g}"


def quoted(text: str, most: int = 160) -> str:
    """A text from outside, in quotation marks and cut: data, whatever it says."""
    return json.dumps(one_line(text)[:most], ensure_ascii=False)
