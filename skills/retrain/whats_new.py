"""What is new by a drift report, as a page for a person, and whether the new rows are like it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...core.artifacts import Artifact
from ...data.embed import words
from ...data.read import Source, read_samples

_REPORT, _EXAMPLES = "report.json", "examples.json"
_ROWS_LOOKED_AT = 20_000


@dataclass(frozen=True)
class WhatsNew:
    """The page; of the texts shown, which moved the alarm most, how many are more like a new row than known.

    shown: 0 where the report has none.
    """

    page: str
    alike: int
    shown: int


def describe(alarm: Artifact, source: Source) -> WhatsNew:
    """What the alarm's report says is new, held against the rows that are to teach it."""
    examples = _json(alarm, _EXAMPLES)
    texts: Sequence[Mapping[str, Any]] = examples.get("texts", [])
    questions = (sample.question for sample in islice(read_samples(source), _ROWS_LOOKED_AT))
    nearest = _nearest([str(one["text"]) for one in texts], questions)
    alike = [
        row is not None and overlap > _overlap(words(str(one["text"])), words(str(one.get("nearest", ""))))
        for one, (row, overlap) in zip(texts, nearest, strict=True)
    ]
    lines = [*_head(alarm), *_moved(_json(alarm, _REPORT)), *_words(examples)]
    if texts:
        lines += ["", "## Texts that moved it most", ""]
        lines += [
            f"- {_quoted(one['text'])} answered {_quoted(one.get('output', ''))}; nearest known "
            f"{_quoted(one.get('nearest', ''))}; nearest new row {_quoted(row or '')}"
            for one, (row, _) in zip(texts, nearest, strict=True)
        ]
    return WhatsNew("\n".join([*lines, ""]), sum(alike), len(texts))


def _json(artifact: Artifact, name: str) -> Mapping[str, Any]:
    if name not in artifact.files:
        return {}
    found = artifact.read_json(name)
    return found if isinstance(found, dict) else {}


def _head(alarm: Artifact) -> list[str]:
    facts = alarm.facts
    windows = facts.get("evidence_windows")
    several = f", the last of {windows:g} windows that count together" if windows and windows > 1 else ""
    return [
        f"# What is new on {facts['endpoint']}",
        "",
        f"By {alarm.ref.short}: {facts['n']} requests from {facts['first']} to {facts['last']}{several}, "
        f"compared with {facts.get('compared_with', 'what the model learned from')}.",
        "This page quotes what users wrote. The plan beside it does not.",
    ]


def _moved(report: Mapping[str, Any]) -> list[str]:
    """The labels that moved most, where the answers are labels."""
    tests = {test["name"]: test for test in report.get("tests", [])}
    moved = tests.get("labels", {}).get("detail", {}).get("moved", [])
    rows = [
        f"- {_quoted(row['label'])}: {row['live']:g} answers, {row['expected']:g} expected" for row in moved
    ]
    return ["", "## Labels that moved most", "", *rows] if rows else []


def _words(examples: Mapping[str, Any]) -> list[str]:
    unknown = examples.get("unknown_words", [])
    said = ", ".join(f"{_quoted(word)} ({count})" for word, count in unknown)
    return ["", "## Words that no known text has", "", said] if unknown else []


def _quoted(text: object) -> str:
    """A text on one line in which nothing is markup."""
    return "`" + json.dumps(str(text), ensure_ascii=False)[1:-1].replace("`", "'")[:300] + "`"


def _nearest(texts: Sequence[str], rows: Iterable[str]) -> list[tuple[str | None, float]]:
    """For each text the row that shares most of its words with it, and how much: Jaccard of their words."""
    wanted = [words(text) for text in texts]
    best: list[tuple[str | None, float]] = [(None, 0.0)] * len(texts)
    for row in rows if texts else ():
        said = words(row)
        for place, one in enumerate(wanted):
            if (shared := _overlap(one, said)) > best[place][1]:
                best[place] = (row, shared)
    return best


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    first, second = set(one), set(other)
    return len(first & second) / len(first | second) if first or second else 0.0
