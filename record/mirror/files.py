"""Files: what MLflow gets of a run and its steps beside figures. Reports, manifests, plots; never weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from ...core.artifact_refs import ArtifactRef, parse_ref
from ...core.artifacts import ArtifactStore
from ...core.errors import OpswrightError
from ...core.files import canonical_json, sha256_file
from ..ledger import Ledger
from ..run_state import RunState, StepState
from .page import Figure
from .status import milliseconds

_TRAINED = ("recipe.yaml", "config.json", "training.json", "training.jsonl", "validation.jsonl")
SHOWN: dict[str, tuple[str, ...]] = {
    "dataset": ("report.json", "dropped.jsonl"),
    "checkpoint": _TRAINED,
    "classifier": _TRAINED,
    "bundle": ("manifest.json", "*.pbtxt", "*/genai_config.json"),
    "guardrails": ("config/*", "tests.json", "report.json"),
    "eval-report": ("report.json", "items.jsonl", "*.png", "*.svg"),
    "benchmark-report": ("report.json", "report.html", "*.png"),
    "learning-curve": ("curve.json", "curve.html", "*.png"),
    "drift-report": ("report.json", "examples.json", "*.png", "*.svg"),
}
_FILE_BYTES = 8 << 20
_CURVES = ("training.jsonl", "validation.jsonl")
_NO_FIGURE = {"step", "epoch"}


def write_run_files(state: RunState, ledger: Ledger, folder: Path) -> None:
    """The run's own lines of the ledger, what was proposed, and on which versions it ran."""
    lines = b"".join(canonical_json(asdict(record)) + b"\n" for record in state.records)
    (folder / "ledger.jsonl").write_bytes(lines)
    _write_json(folder / "proposal.json", state.proposal)
    digests = dict.fromkeys(record.environment for record in state.records)
    _write_json(folder / "environment.json", {digest: ledger.environment(digest) for digest in digests})


def write_step_files(step: StepState, store: ArtifactStore, folder: Path) -> None:
    """Request, result, and of each artifact its manifest and what people read of it."""
    _write_json(folder / "request.json", step.request)
    if step.outcome is not None:
        _write_json(folder / "outcome.json", {**step.outcome.detail, "phase": step.outcome.phase})
    for name, ref in _refs(step):
        home = store.folder(ref)
        for path in _shown(store, ref):
            target = folder / name / path.relative_to(home / "files")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        if (home / "artifact.json").is_file():
            (folder / name).mkdir(exist_ok=True)
            shutil.copyfile(home / "artifact.json", folder / name / "artifact.json")


def curve_figures(step: StepState, store: ArtifactStore) -> Iterator[Figure]:
    """The loss curve of a checkpoint the step made: every number of its log, at its training step."""
    outcome = step.outcome
    if outcome is None:
        return
    for _, ref in _refs(step):
        for path in _shown(store, ref) if ref.kind in ("checkpoint", "classifier") else ():
            if path.name in _CURVES:
                yield from _curve(path, milliseconds(outcome))


def _curve(path: Path, at_ms: int) -> Iterator[Figure]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in _NO_FIGURE and isinstance(value, int | float) and not isinstance(value, bool):
                yield Figure(f"training.{name}", float(value), at_ms, int(row.get("step", 0)))


def _refs(step: StepState) -> Iterator[tuple[str, ArtifactRef]]:
    outcome = step.outcome
    for name, text in outcome.artifacts.items() if outcome is not None else ():
        try:
            yield name, parse_ref(text)
        except OpswrightError:
            continue  # a kind of a later version: its name is shown, its files are not


def _shown(store: ArtifactStore, ref: ArtifactRef) -> Iterator[Path]:
    """The files of an artifact that people read, when they are there and as recorded."""
    home = store.folder(ref)
    try:
        recorded = json.loads((home / "artifact.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return  # removed or damaged: the audit's matter
    for name, entry in recorded.items():
        path = home / "files" / name
        wanted = any(fnmatch(name, pattern) for pattern in SHOWN.get(ref.kind, ()))
        if not wanted or entry["bytes"] > _FILE_BYTES or not path.is_file():
            continue
        if path.stat().st_size == entry["bytes"] and sha256_file(path) == entry["sha256"]:
            yield path


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=dict) + "\n", encoding="utf-8")
