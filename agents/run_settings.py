"""The settings that decide what a run does: those it was proposed under must be in force when it acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.files import canonical_json, sha256_file, sha256_json
from ..core.settings import Settings
from ..core.workspace import Workspace
from ..record.ledger import Ledger
from ..record.run_state import RunState

_SECTIONS = (
    "train",
    "evaluation",
    "build",
    "compute",
    "serving",
    "prices",
)  # others: where people look


def keep_settings(workspace: Workspace) -> str:
    """The digest of the settings in force; what it stands for is kept beside the ledger, without secrets."""
    document = deciding(workspace.settings)
    digest = sha256_json(document)
    Ledger.of(workspace).keep("settings", digest, canonical_json(document))
    return digest


def changed_settings(workspace: Workspace, run: RunState) -> list[str]:
    """Sentences for the settings that are not what they were when the run was proposed."""
    digest = run.proposal.get("settings")
    now = deciding(workspace.settings)
    if not isinstance(digest, str) or digest == sha256_json(now):
        return []
    before = Ledger.of(workspace).kept("settings", digest)
    if before is None:
        return [f"the settings are not those that the plan was proposed under ({digest[:12]}, not kept)"]
    old, new = dict(places(before)), dict(places(now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"setting {name} was {old.get(name)!r} and is {new.get(name)!r} now" for name in names]


def deciding(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a run does.

    A secret is only told to be there: another one in its place changes nothing here.
    """
    document: dict[str, Any] = settings.model_dump(mode="json", include=set(_SECTIONS))
    if (file := settings.prices.file) is not None:
        document["prices"]["table"] = sha256_file(file) if file.is_file() else "missing"
    return document


def places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a tree that is no tree itself, by its place, as `compute.backend`."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from places(inner, f"{place}.{name}".lstrip("."))
    else:
        yield place, value
