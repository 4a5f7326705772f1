"""What there is to talk about: suites, endpoints, releases, artifacts, files; looked up once for an ask."""

from __future__ import annotations

from collections import deque
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from ....core.artifact_refs import REF_TYPES, ArtifactRef, parse_ref
from ....core.errors import AskError, OpswrightError
from ....core.workspace import Workspace
from ..values import named_values
from .text import key_of_word

_FOLDERS = ("", "data", "raw", "datasets")
_MOST_FILES = 2_000


class Surroundings:
    """One workspace and the folder asked from, as they are now."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def suites(self) -> dict[str, str]:
        """Suites by what they are called; a file of the project by its stem, before a shipped one."""
        found: dict[str, str] = {}
        for value in named_values(self.workspace, "suite"):
            found[key_of_word(Path(value).stem)] = value
        return found

    @cached_property
    def own_suites(self) -> list[str]:
        """The project's suite files."""
        return [value for value in self.suites.values() if "/" in value]

    @cached_property
    def endpoints(self) -> dict[str, str]:
        """Endpoints by their keys."""
        return {key_of_word(name): name for name in named_values(self.workspace, "endpoint")}

    @cached_property
    def names(self) -> frozenset[str]:
        """What suites, endpoints and files are called."""
        return frozenset({*self.suites, *self.endpoints, *self.files})

    @cached_property
    def files(self) -> dict[str, str]:
        """Data files beside the asker by their stems; not model.nemo as "model", of two alike none."""
        found: dict[str, str] = {}
        twice: set[str] = set()
        for folder in _FOLDERS:
            place = Path(folder)
            if not place.is_dir():
                continue
            for count, path in enumerate(sorted(place.iterdir())):
                if count > _MOST_FILES or path.name.startswith(".") or not path.is_file():
                    continue
                if path.suffix in (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".nemo"):
                    key = key_of_word(path.stem)
                    twice |= {key} & found.keys()
                    found[key] = path.as_posix()
        kinds = {key_of_word(word) for ref in REF_TYPES.values() for word in ref.spoken} | REF_TYPES.keys()
        return {key: path for key, path in found.items() if key not in twice | kinds}

    @cached_property
    def folders(self) -> dict[str, str]:
        """Folders beside the asker by what they are called."""
        found = (path for path in Path().iterdir() if path.is_dir() and not path.name.startswith("."))
        return {
            key_of_word(path.name): path.as_posix()
            for path, _ in zip(found, range(_MOST_FILES), strict=False)
        }

    def artifacts(self, kind: str) -> list[ArtifactRef]:
        """The artifacts of a kind, newest first."""
        return [ref for ref, _ in self._manifests(kind)]

    def _manifests(self, kind: str) -> list[tuple[ArtifactRef, dict[str, Any]]]:
        if kind not in self._listed:
            self._listed[kind] = self.workspace.artifacts.list(kind)
        return self._listed[kind]

    @cached_property
    def _listed(self) -> dict[str, list[tuple[ArtifactRef, dict[str, Any]]]]:
        return {}

    def made_on(self, ref: ArtifactRef) -> date:
        """The day, UTC, that an artifact was saved."""
        saved = (self.workspace.artifacts.folder(ref) / "artifact.json").stat().st_mtime
        return datetime.fromtimestamp(saved, UTC).date()

    def made_days_ago(self, kind: str, days: int) -> list[ArtifactRef]:
        """The artifacts of a kind that were saved on one day, newest first."""
        wanted = datetime.now(UTC).date() - timedelta(days=days)
        return [ref for ref in self.artifacts(kind) if self.made_on(ref) == wanted]

    def releases(self, which: str, endpoint: str | None) -> dict[str, ArtifactRef]:
        """By endpoint, the bundle that is `stable` or `canary` there, or that release (`v2`) of it."""
        from ....serving.releases import read_state

        found: dict[str, ArtifactRef] = {}
        for name in self.endpoints.values():
            if endpoint not in (None, name):
                continue
            try:
                state = read_state(self.workspace, name)
            except OpswrightError:
                continue
            if which in ("stable", "canary"):
                release = state.stable if which == "stable" else state.canary
            else:
                held = (*state.known, *state.releases, *state.previous)
                named = [one for one in held if one.id == which or one.id.partition("-")[0] == which]
                release = named[-1] if named else None
            if release is not None:
                found[name] = release.bundle
        return found

    def behind(self, ref: ArtifactRef, kinds: tuple[str, ...]) -> ArtifactRef | None:
        """The artifact itself when it is of these kinds, else the nearest such it was made from."""
        waiting, seen = deque([ref]), {str(ref)}
        while waiting:
            one = waiting.popleft()
            if one.kind in kinds:
                return one
            for parent in self._parents(one):
                if str(parent) not in seen:
                    seen.add(str(parent))
                    waiting.append(parent)
        return None

    def older_than(self, spoken: Any, kinds: tuple[str, ...]) -> str | None:
        """The artifact of its kind that was made right before one, where that is of these kinds."""
        kind = str(spoken).partition(":")[0]
        every = [str(ref) for ref in self.artifacts(kind)] if kind in kinds else []
        at = every.index(str(spoken)) + 1 if str(spoken) in every else len(every)
        return every[at] if at < len(every) else None

    def made_from(self, ref: ArtifactRef, kinds: tuple[str, ...]) -> ArtifactRef | None:
        """The newest artifact of these kinds that was made straight from another."""
        for kind in kinds:
            for made, manifest in self._manifests(kind):
                if str(ref) in manifest.get("parents", ()):
                    return made
        return None

    def _parents(self, ref: ArtifactRef) -> list[ArtifactRef]:
        for known, manifest in self._manifests(ref.kind):
            if known == ref:
                return [parse_ref(parent) for parent in manifest.get("parents", ()) if _is_known(parent)]
        return []

    def resolve(self, text: str) -> ArtifactRef | None:
        """The artifact of a shortened reference; None when it names none, or several."""
        try:
            return self.workspace.artifacts.resolve(text.lower())
        except AskError:
            return None


def _is_known(ref: str) -> bool:
    return ref.partition(":")[0] in REF_TYPES
