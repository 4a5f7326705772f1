"""Adapters that stay unmerged: which base they belong to, and where that lies."""

from __future__ import annotations

from pathlib import Path

from ...core.artifact_refs import CheckpointRef, parse_ref
from ...core.artifacts import Artifact, ArtifactStore
from ...core.errors import AskError, IntegrityError
from ...core.files import sha256_path
from ...core.workspace import Workspace
from .hub import HubModel, downloaded


def base_of(adapter: Artifact, workspace: Workspace) -> Path:
    """The folder of the base that adapters were trained on.

    Raises AskError when it is not here, IntegrityError when it is no longer what it was.
    """
    base = str(adapter.facts["base"])
    if base.startswith(f"{CheckpointRef.kind}:"):
        return workspace.artifacts.open(parse_ref(base)).path
    folder = downloaded(HubModel(base), workspace) if base.startswith("hf:") else Path(base)
    if folder is None or not folder.is_dir():
        raise AskError(
            f"the base of {adapter.ref.short}, {base}, is not here, and adapters are nothing without it. "
            "Bring it back, or take the merged checkpoint of the same training."
        )
    if sha256_path(folder) != adapter.facts.get("base_digest"):
        raise IntegrityError(
            f"{base} is not the base that {adapter.ref.short} was trained on: its files have another digest."
        )
    return folder


def merged_checkpoint(adapter: Artifact, store: ArtifactStore) -> CheckpointRef | None:
    """The checkpoint of the same training, which has the adapters merged; None where it is not known."""
    known = store.list(CheckpointRef.kind)
    return next((CheckpointRef(ref) for ref, one in known if one["facts"] == adapter.facts), None)


def size_with_base(adapter: Artifact, base: Path) -> int:
    """Bytes of adapters and the base's weights together."""
    return adapter.size_bytes + sum(path.stat().st_size for path in base.glob("*.safetensors"))
