"""What the page "Drift" shows of a report: its tests against the alarm line, its plots, its texts."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ....core.artifact_refs import ArtifactRef, DatasetRef
from ....core.errors import AskError
from ....core.workspace import Workspace
from ....record.index import LedgerIndex, Link
from ...reports.axis import AxisTick

KIND = "drift-report"
_SMALLEST_P = 1e-6
_ROW, _HEAD = 26, 18
LEFT, RIGHT, WIDTH = 92, 400, 460
_IN_WORDS = {
    "embedding": "meaning",
    "length": "length",
    "vocabulary": "vocabulary",
    "novelty": "novel texts",
    "labels": "predicted labels",
    "not_labels": "not a label",
    "answers": "answers",
}


_OLDER = {  # what reports of version 0.1 lack
    "compared_with": "",
    "level": None,
    "evidence_bound": None,
    "note": "",
    "labelled": 0,
}


@dataclass(frozen=True)
class PValueRow:
    """One test as it is drawn: where its raw and its corrected p-value lie."""

    name: str
    y: float
    raw: float
    corrected: float
    message: str
    is_alarm: bool


@dataclass(frozen=True)
class Scale:
    """The tests on an axis of p-values, smaller to the right, with the alarm line."""

    rows: tuple[PValueRow, ...]
    ticks: tuple[AxisTick, ...]
    alarm: float
    height: float
    left, right, width, head = LEFT, RIGHT, WIDTH, _HEAD


@dataclass(frozen=True)
class LabelBars:
    """A label with its answers in the window and those expected from training, as lengths of bars."""

    label: str
    live: float
    expected: float
    live_length: float
    expected_length: float


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """The reports, newest first, as (words, reference)."""
    found = []
    for ref, manifest in workspace.artifacts.list(KIND):
        facts = manifest["facts"]
        fired = [name for name, test in facts.get("tests", {}).items() if test.get("alarm")]
        outcome = (
            f"alarm by {', '.join(_IN_WORDS.get(name, name) for name in fired)}" if fired else "no alarm"
        )
        last = str(facts.get("last", ""))[:19].replace("T", " ")
        found.append((f"{last}  {facts.get('endpoint', '')}: {outcome}  ({ref.digest[:12]})", str(ref)))
    return found


def view(workspace: Workspace, ref: str) -> dict[str, Any]:
    """Everything the page draws of a report; its digests are checked on the way."""
    artifact = workspace.artifacts.open(workspace.artifacts.resolve(ref))
    if artifact.ref.kind != KIND:
        raise AskError(f"{artifact.ref.short} is not a drift report.")
    report, examples = {**_OLDER, **artifact.read_json("report.json")}, artifact.read_json("examples.json")
    moved: Sequence[Mapping[str, Any]] = next(
        (test["detail"].get("moved", ()) for test in report["tests"] if test["name"] == "labels"), ()
    )
    return {
        "ref": artifact.ref,
        "reference": DatasetRef(report["reference"]) if report["reference"] else None,
        "report": report,
        "in_words": _IN_WORDS,
        "p_text": p_text,
        "scale": scale(report["tests"], report["level"] or report["alpha"]),
        "pairs": pairs(moved),
        "examples": examples,
        "images": {name: image(artifact.path / name) for name in ("embedding.png", "length.png")},
        "record": _record(workspace, artifact.ref),
        "chat": chat_link(artifact.ref),
    }


def scale(tests: Sequence[Mapping[str, Any]], alpha: float) -> Scale:
    """The p-values of tests on a logarithmic axis from 1 to the smallest."""
    smallest = min([_clipped(test["p"]) for test in tests] + [alpha])
    decades = max(3, math.ceil(-math.log10(smallest) - 1e-9))

    def x(p: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * -math.log10(_clipped(p)) / decades, 1)

    rows = tuple(
        PValueRow(
            _IN_WORDS.get(test["name"], test["name"]),
            _HEAD + _ROW * (index + 0.5),
            x(test["p"]),
            x(test["p_corrected"]),
            f"corrected p = {p_text(test['p_corrected'])}, raw p = {p_text(test['p'])}",
            bool(test["alarm"]),
        )
        for index, test in enumerate(tests)
    )
    ticks = tuple(AxisTick(x(10.0**-n), f"{10.0**-n:g}") for n in range(decades + 1))
    return Scale(rows, ticks, x(alpha), _HEAD + _ROW * len(tests) + 26)


def pairs(moved: Sequence[Mapping[str, Any]]) -> list[LabelBars]:
    """The labels that moved most, with bars of at most 100 units."""
    highest = max((max(row["live"], row["expected"]) for row in moved), default=0) or 1
    return [
        LabelBars(row["label"], row["live"], row["expected"], *(
            round(100 * row[name] / highest, 1) for name in ("live", "expected")
        ))
        for row in moved
    ]  # fmt: skip


def p_text(p: float) -> str:
    """A p-value to two digits; one too small to be told from zero says so."""
    return f"{p:.2g}" if p >= _SMALLEST_P else f"< {_SMALLEST_P:g}"


def image(path: Any) -> str:
    """A plot of the report as an address that holds it; empty when the report has none."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else ""


def chat_link(ref: ArtifactRef) -> str:
    """The chat with the command in its input box, for a person to fill in and send."""
    return "/?say=" + quote(f"/retrain alarm={ref} new_data=", safe="")


def _clipped(p: float) -> float:
    return min(1.0, max(p, _SMALLEST_P))


def _record(workspace: Workspace, ref: ArtifactRef) -> Any:
    """The ledger record of the step that made the report."""
    made = LedgerIndex.of(workspace).linked([ref], Link.MADE).get(ref, [])
    return next((one for one in made if one.step is not None), None)
