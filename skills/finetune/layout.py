"""The work folder of a training: recipe, job, and links to the data and the base."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from ...core.artifacts import Artifact, CheckpointRef, PendingArtifact
from ...core.contract import StepContext
from ...core.errors import AskError, NeedsError, did_you_mean
from ...core.files import sha256_json, sha256_path
from ...core.workspace import Workspace
from .base import BaseFacts
from .hub import HubModel, download, downloaded, look_up
from .recipe import DataFacts, Recipe
from .request import FinetuneRequest
from .status import FAILURE, FINGERPRINT, JOB, LOCK, LOCK_S, RECIPE, STATUS, Job
from .tiny_shape import TinyShape


class NotDownloaded(PendingArtifact):
    """The base is on its hub, and what it is like is known once it is here."""


def data_facts(data: Artifact, share: float = 1.0) -> DataFacts:
    """The facts of a dataset, or of a share of its training rows; AskError when it holds no chat rows."""
    train, validation = (data.facts.get(name) for name in ("train_rows", "validation_rows"))
    if not isinstance(train, int) or not isinstance(validation, int) or "train.jsonl" not in data.files:
        raise AskError(f"{data.ref.short} has no chat rows to train on. Make a dataset with `curate`.")
    size = int(data.files["train.jsonl"]["bytes"])
    return DataFacts(share_of(train, share), validation, int(size * share))


def share_of(rows: int, share: float) -> int:
    """Rows of a share: at least one of any."""
    return max(1, round(rows * share)) if rows else 0


def write_share(source: Path, target: Path, share: float, seed: int) -> int:
    """Write a share of a file's lines in their order; how many.

    Which they are depends on the seed and the lines alone, and those of a smaller share are among them.
    """
    lines = [line for line in source.read_bytes().split(b"\n") if line.strip()]
    salt = str(seed).encode()
    ranked = sorted(range(len(lines)), key=lambda n: (hashlib.sha256(salt + lines[n]).digest(), n))
    chosen = sorted(ranked[: share_of(len(lines), share)])
    target.write_bytes(b"".join(lines[number] + b"\n" for number in chosen))
    return len(chosen)


def base_folder(request: FinetuneRequest, workspace: Workspace) -> Path | None:
    """Where the base lies; None for the tiny one, which is made from the data.

    Raises NotDownloaded for one that its hub has and this workspace has not.
    """
    if isinstance(request.base, CheckpointRef):
        return workspace.artifacts.open(request.base).path
    if isinstance(request.base, Path):
        if not request.base.is_dir():
            raise AskError(
                f"base {request.base} not found: expected 'tiny', a checkpoint or a Hugging Face folder."
                + did_you_mean(str(request.base), ["tiny"])
            )
        return request.base
    if isinstance(request.base, HubModel):
        if found := downloaded(request.base, workspace):
            return found
        look_up(request.base)
        raise NotDownloaded(f"base '{request.base}' is downloaded when the step runs")
    return None


def fetch_base(request: FinetuneRequest, ctx: StepContext) -> None:
    """Download a base that lies on a hub; errors as of `hub.look_up`."""
    if isinstance(request.base, HubModel) and downloaded(request.base, ctx.workspace) is None:
        ctx.log(f"downloading {request.base}")
        download(request.base, ctx.workspace)


def base_facts(request: FinetuneRequest, workspace: Workspace) -> BaseFacts:
    """The facts of the base; AskError when it cannot be trained."""
    folder = base_folder(request, workspace)
    return BaseFacts.of_folder(folder) if folder else BaseFacts.of_tiny(request.tiny or TinyShape())


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
    what: dict[str, Any] = {
        "recipe": recipe.digest,
        "data": str(request.data),
        "base": base_digest(request, ctx.workspace),
    }
    if request.train_share != 1:
        what["share"] = request.train_share
    job = Job(
        tiny=request.tiny,
        method=request.method,
        positions=recipe.tuning.max_tokens,
        device=device,
        gpus=request.gpus,
        keep_best=recipe.tuning.keep_best,
        patience=request.patience,
        last_turn_only=request.learn == "last",
    )
    try:
        with FileLock(folder / LOCK, timeout=wait_s):
            (folder / FINGERPRINT).write_text(sha256_json(what))
            (folder / STATUS).write_bytes(b"")
            (folder / FAILURE).unlink(missing_ok=True)
            _lay_data(folder / "data", data.path, request)
            if base:
                _link(folder / "base", base.resolve())
            (folder / RECIPE).write_text(recipe.yaml(), encoding="utf-8")
            job.write(folder / JOB)
    except Timeout as error:
        raise NeedsError(f"another worker is training in {folder}. Stop it, then repeat.") from error


def _lay_data(folder: Path, data: Path, request: FinetuneRequest) -> None:
    """The data as the recipe finds it: a link to it, or a folder with a share of its training rows."""
    if request.train_share == 1:
        _link(folder, data)
        return
    remove(folder)
    folder.mkdir()
    write_share(data / "train.jsonl", folder / "train.jsonl", request.train_share, request.seed)
    if (data / "validation.jsonl").is_file():
        shutil.copy2(data / "validation.jsonl", folder / "validation.jsonl")


def remove(path: Path) -> None:
    """Remove a folder, or a link to one but not what it points to."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    remove(link)
    os.symlink(target, link, target_is_directory=True)
