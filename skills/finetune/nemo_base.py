"""A `.nemo` archive as base: looked at while it is planned, imported to a checkpoint when the step runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from ...core.artifact_refs import CheckpointRef, PendingArtifact
from ...core.contract import StepContext
from ...core.errors import NeedsError
from ...core.workspace import Workspace
from ..nemo_archive.archive import WEIGHTS, Archive, inspect
from ..nemo_archive.importable import NemoImport, check_import, is_export
from ..nemo_archive.importing import REFUSAL, UNSAFE, find_import, import_archive
from ..nemo_archive.megatron import LlamaShape
from .base import BaseFacts

if TYPE_CHECKING:
    from .request import FinetuneRequest


class NotImported(PendingArtifact):
    """The base is an archive that is imported when the step runs; `facts` are what its config says of it."""

    def __init__(self, message: str, facts: BaseFacts) -> None:
        super().__init__(message)
        self.facts = facts


def is_archive(base: object) -> TypeGuard[Path]:
    """Whether a base is a file, which no base but a `.nemo` archive is."""
    return isinstance(base, Path) and base.is_file()


def imported_folder(path: Path, given: NemoImport, workspace: Workspace) -> Path:
    """The folder of the checkpoint that an archive was imported to.

    Raises NotImported when it was not yet, AskError for an archive that is not to be imported, NeedsError
    where torch was told to run what weights say.
    """
    archive = inspect(path)
    check_import(archive, given)
    if os.environ.get(UNSAFE):
        raise NeedsError(f"{REFUSAL} Unset it: no archive is a base under it.")
    if found := find_import(path, given, workspace.artifacts):
        return workspace.artifacts.open(found).path
    raise NotImported(f"base {path} is imported when the step runs", _facts(archive, given))


def imported_base(request: FinetuneRequest, ctx: StepContext) -> CheckpointRef | None:
    """The checkpoint of an archive that is the base, imported here where it was not; None for other bases."""
    if not is_archive(request.base):
        return None
    given = request.nemo or NemoImport()
    if found := find_import(request.base, given, ctx.artifacts):
        return found
    ctx.log(f"importing {request.base}")
    imported = import_archive(inspect(request.base), given, ctx)
    if imported.golden is not None:
        ctx.log(f"{request.base} gives {imported.golden} golden answers")
    return imported.checkpoint


def _facts(archive: Archive, given: NemoImport) -> BaseFacts:
    """What a config and sizes tell of a model, near enough for memory, disk and learning rate."""
    stored = {name for one in archive.pickles for name in one.imports}
    weight_bytes = archive.sizes[WEIGHTS]
    parameters = weight_bytes // (4 if "torch.FloatStorage" in stored else 2)
    if is_export(archive):
        config = archive.config["hf_config"]
        return BaseFacts.of_config(config, parameters=parameters, weight_bytes=weight_bytes)
    shape = LlamaShape.of(archive.config)
    return BaseFacts(
        has_weights=True,
        parameters=parameters,
        weight_bytes=weight_bytes,
        hidden=shape.hidden,
        layers=shape.layers,
        vocabulary=_vocabulary(given.tokenizer),
        positions=shape.positions,
    )


def _vocabulary(folder: Path | None) -> int:
    """How many tokens a folder's tokenizer has, by its file; 0 where it does not say."""
    try:
        values = json.loads(((folder or Path()) / "tokenizer.json").read_text(encoding="utf-8"))
        return len(values["model"]["vocab"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
