"""The work folder of a training: recipe, job, and links to the data and the base."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from ...core.artifact_refs import CheckpointRef, PendingArtifact
from ...core.artifacts import Artifact
from ...core.contract import StepContext
from ...core.errors import AskError, NeedsError, did_you_mean
from ...core.files import sha256_json, sha256_path
from ...core.workspace import Workspace
from ..nemo_archive.importable import NemoImport
from .base import BaseFacts
from .classes import LABELS, classes_of, write_labels
from .classifier import METHOD
from .hub import HubModel, download, downloaded, look_up
from .nemo_base import imported_base, imported_folder, is_archive
from .recipe import DataFacts, Recipe
from .request import FinetuneRequest
from .shares import shared_lines
from .status import FAILURE, FINGERPRINT, JOB, LOCK, LOCK_S, RECIPE, STATUS, SUITE, Job
from .teacher import TEACHER
from .tiny_shape import TinyShape

_EXPECTED = {
    "base": "'tiny', a checkpoint, a Hugging Face folder or a .nemo archive",
    "teacher": "a checkpoint or a Hugging Face folder",
}


class NotDownloaded(PendingArtifact):
    """The base is on its hub, and what it is like is known once it is here."""


def data_facts(data: Artifact, request: FinetuneRequest) -> DataFacts:
    """The facts of the rows a request learns from; AskError when a dataset holds no chat rows."""
    train, validation = (data.facts.get(name) for name in ("train_rows", "validation_rows"))
    if not isinstance(train, int) or not isinstance(validation, int) or "train.jsonl" not in data.files:
        raise AskError(f"{data.ref.short} has no chat rows to train on. Make a dataset with `curate`.")
    if data.facts.get("task") == "prefer":
        raise AskError(
            f"{data.ref.short} holds preferences, and NeMo AutoModel 0.7.0 has no preference training (DPO "
            "and the like), so there is none. To learn the chosen answers, curate again with task=generate."
        )
    if request.method == METHOD:
        found = classes_of(data, request.train_share, request.seed)
        size = int(data.files["train.jsonl"]["bytes"] * request.train_share)
        return DataFacts(found.train_rows, found.validation_rows, size, len(found.labels))
    if request.train_share == 1:
        return DataFacts(train, validation, int(data.files["train.jsonl"]["bytes"]))
    lines = shared_lines(data, request.train_share, request.seed)
    return DataFacts(len(lines), validation, sum(len(line) + 1 for line in lines))


def base_folder(request: FinetuneRequest, workspace: Workspace) -> Path | None:
    """Where the base lies; None for the tiny one, which is made from the data.

    Raises NotDownloaded for one that its hub has and this workspace has not, NotImported for an archive.
    """
    if request.base == "tiny":
        return None
    if is_archive(request.base):
        return imported_folder(request.base, request.nemo or NemoImport(), workspace)
    if request.nemo is not None:
        raise AskError(f"nemo is for a .nemo file as base, and {request.base} is none. Leave it out.")
    return _folder_of(request.base, "base", workspace)


def teacher_folder(request: FinetuneRequest, workspace: Workspace) -> Path | None:
    """Where the teacher lies; None without one. Raises as `base_folder` does."""
    return None if request.teacher is None else _folder_of(request.teacher, "teacher", workspace)


def _folder_of(model: str | Path, role: str, workspace: Workspace) -> Path:
    if isinstance(model, CheckpointRef):
        return workspace.artifacts.open(model).path
    if isinstance(model, HubModel):
        if found := downloaded(model, workspace):
            return found
        look_up(model)
        raise NotDownloaded(f"{role} '{model}' is downloaded when the step runs")
    folder = Path(model)
    if is_archive(folder):
        raise AskError(
            f"{role} {folder} is a file. Import a NeMo archive first, and name the checkpoint: "
            f"`opswright nemo-archive --action import --archive {folder}`."
        )
    if not folder.is_dir():
        nearest = did_you_mean(str(folder), ["tiny"]) if role == "base" else ""
        raise AskError(f"{role} {folder} not found: expected {_EXPECTED[role]}.{nearest}")
    return folder


def with_models_here(request: FinetuneRequest, ctx: StepContext) -> FinetuneRequest:
    """The request after its models are in the workspace; a base that is an archive is a checkpoint then.

    Downloads base and teacher where they lie on a hub; errors as of `hub.look_up` and `import_archive`.
    """
    for model in (request.base, request.teacher):
        if isinstance(model, HubModel) and downloaded(model, ctx.workspace) is None:
            ctx.log(f"downloading {model}")
            download(model, ctx.workspace)
    imported = imported_base(request, ctx)
    return request.model_copy(update={"base": imported, "nemo": None}) if imported else request


def base_facts(request: FinetuneRequest, workspace: Workspace) -> BaseFacts:
    """The facts of the base; AskError when it cannot be trained."""
    folder = base_folder(request, workspace)
    return BaseFacts.of_folder(folder) if folder else BaseFacts.of_tiny(request.tiny or TinyShape())


def teacher_facts(request: FinetuneRequest, workspace: Workspace) -> BaseFacts | None:
    """The facts of the teacher; None without one, AskError when it cannot be loaded."""
    folder = teacher_folder(request, workspace)
    return BaseFacts.of_folder(folder) if folder else None


def base_digest(request: FinetuneRequest, workspace: Workspace) -> str:
    """The digest of the base's files; for the one that is made from the data, `tiny` and its shape."""
    folder = base_folder(request, workspace)
    return sha256_path(folder) if folder else f"tiny {request.tiny}"


def lay_out(
    request: FinetuneRequest,
    ctx: StepContext,
    data: Artifact,
    recipe: Recipe,
    device: str,
    wait_s: float = LOCK_S,
) -> None:
    """Lay out the work folder for a worker; NeedsError when one still trains in it after `wait_s`.

    The worker keeps what an earlier attempt left there when its fingerprint is this one.
    """
    from filelock import FileLock, Timeout

    folder = ctx.workdir
    base = base_folder(request, ctx.workspace)
    teacher = teacher_folder(request, ctx.workspace)
    chooser = _chooser_document(request)
    made_of = _fingerprint(request, recipe, ctx.workspace, teacher, chooser)
    job = _job(request, recipe, device, kept_by_suite=chooser is not None)
    try:
        with FileLock(folder / LOCK, timeout=wait_s):
            (folder / FINGERPRINT).write_text(made_of)
            (folder / STATUS).write_bytes(b"")
            (folder / FAILURE).unlink(missing_ok=True)
            _lay_data(folder / "data", data, request)
            if base:
                _link(folder / "base", base.resolve())
            if teacher:
                _link(folder / TEACHER, teacher.resolve())
            (folder / RECIPE).write_text(recipe.yaml(), encoding="utf-8")
            (folder / SUITE).unlink(missing_ok=True)
            if chooser is not None:
                (folder / SUITE).write_text(json.dumps(chooser), encoding="utf-8")
            if request.method == METHOD:
                labels = classes_of(data, request.train_share, request.seed).labels
                write_labels(folder / LABELS, labels)
            job.write(folder / JOB)
    except Timeout as error:
        raise NeedsError(f"another worker is training in {folder}. Stop it, then repeat.") from error


def _fingerprint(
    request: FinetuneRequest,
    recipe: Recipe,
    workspace: Workspace,
    teacher: Path | None,
    chooser: dict[str, Any] | None,
) -> str:
    """The digest of everything that decides what a worker makes; another one begins anew."""
    made_of: dict[str, Any] = {
        "recipe": recipe.digest,
        "data": str(request.data),
        "base": base_digest(request, workspace),
    }
    if request.nodes > 1:
        made_of["nodes"] = request.nodes  # a checkpoint of several nodes holds the place of each
    if request.train_share != 1:
        made_of["share"] = request.train_share
    if teacher is not None:
        made_of["teacher"] = sha256_path(teacher)
    if chooser is not None:
        made_of["keep_by"] = chooser["digest"]
    return sha256_json(made_of)


def _job(request: FinetuneRequest, recipe: Recipe, device: str, *, kept_by_suite: bool) -> Job:
    return Job(
        tiny=request.tiny,
        method=request.method,
        positions=recipe.tuning.max_tokens,
        device=device,
        gpus=request.gpus,
        nodes=request.nodes,
        keep_best=recipe.tuning.keep_best,
        patience=request.patience,
        last_turn_only=request.learn == "last",
        kept_by_suite=kept_by_suite,
        has_teacher=request.teacher is not None,
    )


def _chooser_document(request: FinetuneRequest) -> dict[str, Any] | None:
    """The suite that decides which weights are kept, as the worker reads it; None without one."""
    if request.keep_by is None:
        return None
    from ...evals.suites import load_suite
    from ...evals.suites.portable import suite_document

    return suite_document(load_suite(request.keep_by))


def _lay_data(folder: Path, data: Artifact, request: FinetuneRequest) -> None:
    """The data as the recipe finds it: a link to it, or a folder with a share of its training rows."""
    if request.train_share == 1:
        _link(folder, data.path)
        return
    remove(folder)
    folder.mkdir()
    lines = shared_lines(data, request.train_share, request.seed)
    (folder / "train.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    if (data.path / "validation.jsonl").is_file():
        shutil.copy2(data.path / "validation.jsonl", folder / "validation.jsonl")


def remove(path: Path) -> None:
    """Remove a folder, or a link to one but not what it points to."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    remove(link)
    os.symlink(target, link, target_is_directory=True)
