"""The skill `nemo-archive`: look into a `.nemo` file, import it to a Hugging Face checkpoint, export one.

It moves models between forms. Nothing is trained by it, and NeMo trains nothing through it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...core.artifacts import ArtifactRef, CheckpointRef, NemoArchiveRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, InputPath, Request, Result, StepContext, skill
from ...core.errors import AskError, BackendError, NeedsError
from ...core.files import sha256_file
from ...core.install import not_installed
from ...core.machine import Machine
from ...core.workspace import Workspace
from . import worker
from .archive import Archive, inspect
from .megatron import TARGETS

__all__ = ["NemoArchiveRequest", "NemoArchiveResult", "nemo_archive"]

_COMMAND = (sys.executable, "-P", "-m", "opswright.skills.nemo_archive.worker")
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_MOST_NAMES = 50
_UNTRIED = (
    "Experimental: the import was tried on archives made here after NVIDIA's published names and layout, "
    "on no file that an older NeMo wrote."
)


class NemoArchiveRequest(Request):
    """What is done with which archive or checkpoint."""

    action: Literal["inspect", "import", "export"] = Field(
        "inspect",
        description="inspect: say what an archive holds, loading nothing; import: a dense Llama-like "
        "archive to a checkpoint; export: a checkpoint to an archive that nemo-toolkit 3.0 opens.",
    )
    archive: InputPath | None = Field(None, description="The .nemo file (inspect, import).")
    checkpoint: CheckpointRef | None = Field(None, description="The checkpoint (export).")
    tokenizer: InputPath | None = Field(
        None,
        description="Hugging Face folder with the model's tokenizer; Megatron's archives hold none in that "
        "form.",
    )
    golden: InputPath | None = Field(
        None,
        description="JSONL of prompts and the answers that the model is known to give, which the import "
        "must give: prompt and answer, or messages. Needed for Megatron's archives.",
    )
    min_golden: float = Field(1.0, gt=0, le=1, description="Least share of golden answers, 0 to 1.")

    @model_validator(mode="after")
    def _fits_the_action(self) -> NemoArchiveRequest:
        wanted = "checkpoint" if self.action == "export" else "archive"
        other = "archive" if self.action == "export" else "checkpoint"
        if getattr(self, wanted) is None:
            raise ValueError(f"action '{self.action}' needs {wanted}")
        if getattr(self, other) is not None:
            raise ValueError(f"action '{self.action}' takes {wanted}, not {other}")
        return self


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
        if os.environ.get(_UNSAFE):
            found.append(Finding(level="stop", message=_refusal(), fix=f"unset {_UNSAFE}"))
        if missing := not_installed(("torch", "transformers"), "train"):
            found.append(missing)
    if request.archive is not None:
        _checked(request, inspect(request.archive))
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
        "import the archive {archive}",
        "export {checkpoint} as a nemo archive",
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
    _checked(request, archive)
    return _import(request, ctx, archive)


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


def _checked(request: NemoArchiveRequest, archive: Archive) -> None:
    """AskError for an archive that is not to be imported, or an import without what it needs."""
    if request.action != "import":
        return
    archive.check()
    if archive.target in TARGETS:
        for name in ("tokenizer", "golden"):
            if getattr(request, name) is None:
                raise AskError(
                    f"{archive.path} was made by Megatron: its import needs `{name}`. "
                    + (
                        "It holds no tokenizer in Hugging Face's form."
                        if name == "tokenizer"
                        else "Weights in a wrong order load without an error; only answers show it."
                    )
                )


def _import(request: NemoArchiveRequest, ctx: StepContext, archive: Archive) -> NemoArchiveResult:
    out = ctx.workdir / "imported"
    shutil.rmtree(out, ignore_errors=True)
    told = _run(
        worker.ArchiveJob(
            "import",
            str(out),
            archive=str(archive.path.resolve()),
            tokenizer=str(request.tokenizer.resolve()) if request.tokenizer else "",
            golden=str(request.golden.resolve()) if request.golden else "",
            min_golden=request.min_golden,
        )
    )
    golden = f"{told['golden']['right']} of {told['golden']['of']}" if told["golden"] else None
    note = _UNTRIED if archive.target in TARGETS else None
    facts = {
        "base": f"nemo:{archive.path.name}",
        "base_digest": sha256_file(archive.path),
        "method": "import",
        "parameters": _parameters(out),
        "golden": golden,
    }
    ctx.log(
        f"{told['keys']} keys of the archive, all placed as {told['tensors']} tensors. {note or ''}".strip()
    )
    return NemoArchiveResult(
        target=archive.target,
        tensors=told["tensors"],
        golden=golden,
        checkpoint=ctx.artifacts.save(CheckpointRef, out, facts),
        note=note,
    )


def _export(source: CheckpointRef, ctx: StepContext) -> NemoArchiveResult:
    checkpoint = ctx.artifacts.open(source)
    out = ctx.workdir / "exported"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    told = _run(worker.ArchiveJob("export", str(out / "model.nemo"), checkpoint=str(checkpoint.path)))
    shutil.copy2(Path(__file__).with_name("reader.py"), out / "reader.py")
    parents: list[ArtifactRef] = [source]
    return NemoArchiveResult(
        target=worker.EXPORT_TARGET,
        tensors=told["tensors"],
        exported=ctx.artifacts.save(NemoArchiveRef, out, {"target": worker.EXPORT_TARGET}, parents),
    )


def _refusal() -> str:
    return f"{_UNSAFE} is set: torch would run what a weights file says when it is loaded."


def _run(ask: worker.ArchiveJob) -> dict[str, Any]:
    """The worker's reply; the error it left, in its family."""
    if os.environ.get(_UNSAFE):
        raise NeedsError(f"{_refusal()} Unset it: nothing is imported or exported under it.")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        _COMMAND, input=worker.ask_json(ask), capture_output=True, text=True, env=environment, check=False
    )
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BackendError(f"the {ask.action} ended with code {done.returncode}: {last[:500]}") from error
    if "family" in told:
        raise (NeedsError if told["family"] == "NeedsError" else AskError)(told["message"])
    return told


def _parameters(folder: Path) -> int:
    from ..finetune.base import count_parameters

    return count_parameters(folder)
