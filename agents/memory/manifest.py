"""What an artifact says of itself, checked against its digest, without reading its weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ...core.artifact_refs import parse_ref
from ...core.artifacts import Artifact, ArtifactStore
from ...core.errors import IntegrityError


class ManifestReader:
    """Opens artifacts by their manifest alone."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def open(self, text: str) -> Artifact:
        """The artifact of a reference; errors as of `ArtifactStore.open`, of the manifest alone."""
        ref = parse_ref(text)
        folder = self._store.folder(ref)
        data = (folder / "artifact.json").read_bytes()
        if hashlib.sha256(data).hexdigest() != ref.digest:
            raise IntegrityError(f"{ref.short} was altered: artifact.json does not match its digest.")
        manifest = json.loads(data)
        parents = tuple(parse_ref(parent) for parent in manifest["parents"])
        return Artifact(ref, folder / "files", manifest["facts"], parents, manifest["files"])


def read_checked(artifact: Artifact, name: str) -> Any:
    """One of an artifact's JSON files; IntegrityError where it is not what the manifest names."""
    data = (artifact.path / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != artifact.files[name]["sha256"]:
        raise IntegrityError(f"{artifact.ref.short} was altered: {name} does not match its recorded SHA-256.")
    return json.loads(data)
