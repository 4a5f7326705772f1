"""The skill `nemo-archive`: look into a `.nemo` file, import it to a Hugging Face checkpoint, export one.

It moves models between forms. Nothing is trained by it, and NeMo trains nothing through it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...core.artifact_refs import ArtifactRef, CheckpointRef, NemoArchiveRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from ...core.errors import AskError
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.phrasing import Spoken
from ...core.workspace import Workspace
from . import worker
from .archive import Archive, inspect
from .importable import EXPORT_TARGET, Golden, MinGolden, NemoImport, Tokenizer, check_import
from .importing import REFUSAL, UNSAFE, import_archive, run_worker

__all__ = ["NemoArchiveRequest", "NemoArchiveResult", "nemo_archive"]

_MOST_NAMES = 50


class NemoArchiveRequest(Request):
    """What is done with which archive or checkpoint."""

    action: Annotated[
        Literal["inspect", "import", "export"],
        Spoken(values={"inspect": ("look into", "what is in"), "export": ("convert", "save")}),
    ] = Field(
        "inspect",
        description="inspect: say what an archive holds, loading nothing; import: a dense Llama-like "
        "archive to a checkpoint; export: a checkpoint to an archive that nemo-toolkit 3.0 opens.",
    )
    archive: InputPath | None = Field(None, description="The .nemo file (inspect, import).")
    checkpoint: CheckpointRef | None = Field(None, description="The checkpoint (export).")
    tokenizer: Tokenizer = None
    golden: Golden = None
    min_golden: MinGolden = 1.0

    @model_validator(mode="after")
    def _fits_the_action(self) -> NemoArchiveRequest:
        wanted = "checkpoint" if self.action == "export" else "archive"
        other = "archive" if self.action == "export" else "checkpoint"
        if getattr(self, wanted) is None:
            raise ValueError(f"action '{self.action}' needs {wanted}")
        if getattr(self, other) is not None:
            raise ValueError(f"action '{self.action}' takes {wanted}, not {other}")
        return self

    @property
    def given(self) -> NemoImport:
        """What an import is given besides the archive."""
        return NemoImport(tokenizer=self.tokenizer, golden=self.golden, min_golden=self.min_golden)


class NemoArchiveResult(Result):
    """What the archive holds, or what was made."""

    target: str = Field("", description="Class that the archive's config names.")
    config: dict[str, Any] = Field({}, description="The config's plain settings.")
    members: dict[str, int] = Field({}, description="Bytes by member; at most 50.")
    imports: tuple[str, ...] = Field((), description="Names that loading its pickles would import.")
    unsafe: tuple[str, ...] = Field((), description="Those of them, and members, that are refused.")
    tensors: int = Field(0, description="Tensors that were imported or exported.")
    golden: str | None = Field(None, description="Golden answers that the import gave, of how many.")
    checkpoint: CheckpointRef | None = Field(None, description="The imported model.")
    exported: NemoArchiveRef | None = Field(None, description="The exported archive, with a reader for it.")
    note: str | None = Field(None, description="What was not tried.")


def _preflight(request: NemoArchiveRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    found = []
    if request.action != "inspect":
        if os.environ.get(UNSAFE):
            found.append(Finding(level="stop", message=REFUSAL, fix=f"unset {UNSAFE}"))
        if missing := not_installed(("torch", "transformers"), "train"):
            found.append(missing)
    if request.archive is not None:
        archive = inspect(request.archive)
        if request.action == "import":
            check_import(archive, request.given)
    return found


def _estimate(request: NemoArchiveRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Disk by the size of what is read; minutes by a slow disk."""
    if request.action == "inspect":
        return Cost(minutes=0.05, gpu_hours=0, usd=0, disk_bytes=0)
    size = 0
    try:
        if request.archive is not None:
            size = sum(inspect(request.archive).sizes.values())
        elif request.checkpoint is not None:
            size = workspace.artifacts.open(request.checkpoint).size_bytes
    except PendingArtifact:
        return Cost(minutes=None, gpu_hours=0, usd=0)
    return Cost(minutes=0.3 + size / 1e9, gpu_hours=0, usd=0, disk_bytes=3 * size)


@skill(
    effect=Effect.WRITES,
    summary="Look into a .nemo archive without loading it, import one to a checkpoint, or export one.",
    phrases=[
        "inspect the archive {archive}",
        "inspect {archive}",
        "look into the archive {archive}",
        "look into {archive}",
        "what is in the archive {archive}",
        "import the archive {archive}",
        "import {archive}",
        "export {checkpoint} as a nemo archive",
        "export {checkpoint} as nemo",
        "export {checkpoint} to nemo",
        "convert {checkpoint} to nemo",
        "convert {checkpoint} to a nemo archive",
        "save {checkpoint} as nemo",
        "look into archive {archive}",
        "look inside {archive}",
        "what is inside {archive}",
        "see what is inside {archive}",
        "see what is in {archive}",
        "open {archive}",
        "show what is in {archive}",
        "show what is inside {archive}",
        "examine {archive}",
        "unpack {archive}",
        "turn {checkpoint} into a nemo archive",
        "export {checkpoint} to a nemo archive",
        "write {checkpoint} as a nemo archive",
        "pack {checkpoint} as nemo",
        "show me what is inside {archive}",
        "peek into {archive}",
        "have a look inside {archive}",
        "look at the archive {archive}",
        "convert {checkpoint} into a nemo archive",
        "make a nemo archive of {checkpoint}",
        "make a nemo archive from {checkpoint}",
        "nemo archive of {checkpoint}",
        "package {checkpoint} as nemo",
        "package {checkpoint} as a nemo archive",
        "what does {archive} contain",
        "what does {archive} hold",
        "show the contents of {archive}",
        "inspection of {archive}",
        "make a checkpoint of {archive}",
        "make a checkpoint from {archive}",
        "make a checkpoint out of {archive}",
        "export of {checkpoint} as nemo",
        "export of {checkpoint} to nemo",
        "save {checkpoint} as a nemo archive",
        "save {checkpoint} to a nemo archive",
        "write {checkpoint} to a nemo archive",
        "pack {checkpoint} into a nemo archive",
        "pack {checkpoint} as a nemo archive",
        "nemo archive from {checkpoint}",
        "nemo export of {checkpoint}",
        "nemo import of {archive}",
        "contents of the archive {archive}",
        "import the archive {archive} as a checkpoint",
        "import {archive} as a checkpoint",
        "what does the archive {archive} hold",
        "what does the archive {archive} contain",
    ],
    preflight=_preflight,
    estimate=_estimate,
)
def nemo_archive(request: NemoArchiveRequest, ctx: StepContext) -> NemoArchiveResult:
    """Inspect, import or export a `.nemo` file. Nothing is unpickled but tensors, and nothing is trained.

    An import accounts for every tensor of the archive and must give the golden answers; what it cannot place
    is an error. An export opens with nemo-toolkit's `restore_from` on the class in the `reader.py` beside it.

    Example: `/nemo-archive action=inspect archive=model.nemo`
    """
    if request.checkpoint is not None:
        return _export(request.checkpoint, ctx)
    if request.archive is None:  # the request is held to one of the two when it is made
        raise AskError(f"action '{request.action}' needs archive.")
    archive = inspect(request.archive)
    if request.action == "inspect":
        described = _described(archive)
        for name in described.unsafe:
            ctx.log(f"refused in an import: {name}")
        return described
    imported = import_archive(archive, request.given, ctx)
    return NemoArchiveResult(
        target=archive.target,
        tensors=imported.tensors,
        golden=imported.golden,
        checkpoint=imported.checkpoint,
        note=imported.note,
    )


def _described(archive: Archive) -> NemoArchiveResult:
    plain = {
        str(name): value
        for name, value in archive.config.items()
        if isinstance(value, str | int | float | bool) and len(str(value)) <= 200
    }
    imports = sorted({name for one in archive.pickles for name in one.imports})
    largest = sorted(archive.sizes.items(), key=lambda one: (-one[1], one[0]))[:_MOST_NAMES]
    return NemoArchiveResult(
        target=archive.target[:200],
        config=dict(list(plain.items())[:200]),
        members=dict(largest),
        imports=tuple(imports[:_MOST_NAMES]),
        unsafe=(*(f"member {name[:200]}" for name in archive.refused), *archive.unsafe)[:_MOST_NAMES],
    )


def _export(source: CheckpointRef, ctx: StepContext) -> NemoArchiveResult:
    checkpoint = ctx.artifacts.open(source)
    out = ctx.workdir / "exported"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    told = run_worker(worker.ArchiveJob("export", str(out / "model.nemo"), checkpoint=str(checkpoint.path)))
    shutil.copy2(Path(__file__).with_name("reader.py"), out / "reader.py")
    parents: list[ArtifactRef] = [source]
    return NemoArchiveResult(
        target=EXPORT_TARGET,
        tensors=told["tensors"],
        exported=ctx.artifacts.save(NemoArchiveRef, out, {"target": EXPORT_TARGET}, parents),
    )
