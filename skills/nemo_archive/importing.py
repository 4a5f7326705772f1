"""An archive as a checkpoint of the workspace: imported by a worker, and found again where it was before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.artifact_refs import CheckpointRef
from ...core.artifacts import ArtifactStore
from ...core.contract import StepContext
from ...core.errors import AskError, BackendError, IntegrityError, NeedsError
from ...core.files import sha256_file, sha256_path
from . import worker
from .archive import Archive
from .importable import NemoImport, check_import
from .megatron import TARGETS

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
REFUSAL = f"{UNSAFE} is set: torch would run what a weights file says when it is loaded."
_COMMAND = (sys.executable, "-P", "-m", "opswright.skills.nemo_archive.worker")
_UNTRIED = (
    "Experimental: the import was tried on archives made here after NVIDIA's published names and layout, "
    "on no file that an older NeMo wrote."
)


@dataclass(frozen=True)
class ImportedArchive:
    """An imported model: how many tensors, the golden answers it gave, what was not tried."""

    checkpoint: CheckpointRef
    tensors: int
    golden: str | None
    note: str | None


def import_archive(archive: Archive, given: NemoImport, ctx: StepContext) -> ImportedArchive:
    """Import an archive; AskError when any of it cannot be accounted for, or golden answers are not given.

    The checkpoint's facts hold the archive's digest; IntegrityError when the file changed meanwhile.
    """
    check_import(archive, given)
    digest = sha256_file(archive.path)
    out = ctx.workdir / "imported"
    shutil.rmtree(out, ignore_errors=True)
    told = run_worker(
        worker.ArchiveJob(
            "import",
            str(out),
            archive=str(archive.path.resolve()),
            tokenizer=str(given.tokenizer.resolve()) if given.tokenizer else "",
            golden=str(given.golden.resolve()) if given.golden else "",
            min_golden=given.min_golden,
        )
    )
    if sha256_file(archive.path) != digest:
        raise IntegrityError(
            f"{archive.path} changed while it was imported. Repeat when nothing writes to it."
        )
    golden = f"{told['golden']['right']} of {told['golden']['of']}" if told["golden"] else None
    note = _UNTRIED if archive.target in TARGETS else None
    facts = {
        "base": f"nemo:{archive.path.name}",
        "base_digest": digest,
        "method": "import",
        "parameters": _parameters(out),
        "golden": golden,
        "given": _digests(given),
    }
    ctx.log(
        f"{told['keys']} keys of the archive, all placed as {told['tensors']} tensors. {note or ''}".strip()
    )
    checkpoint = ctx.artifacts.save(CheckpointRef, out, facts)
    shutil.rmtree(out, ignore_errors=True)
    return ImportedArchive(checkpoint, told["tensors"], golden, note)


def find_import(path: Path, given: NemoImport, store: ArtifactStore) -> CheckpointRef | None:
    """The checkpoint that this very file was imported to, with the same tokenizer and golden answers."""
    imports = [
        (ref, manifest["facts"])
        for ref, manifest in store.list(CheckpointRef.kind)
        if manifest["facts"].get("method") == "import"
    ]
    if not imports:
        return None
    wanted = {"base_digest": sha256_file(path), "given": _digests(given)}
    for ref, facts in imports:
        if all(facts.get(name) == value for name, value in wanted.items()):
            with suppress(IntegrityError):  # one that was damaged since is made again
                return CheckpointRef(store.open(ref).ref)
    return None


def _digests(given: NemoImport) -> dict[str, Any]:
    """What an import was given, by content."""
    return {
        "tokenizer": sha256_path(given.tokenizer) if given.tokenizer else None,
        "golden": sha256_file(given.golden) if given.golden else None,
        "min_golden": given.min_golden,
    }


def _parameters(folder: Path) -> int:
    from ...engines.hf_folder import count_parameters

    return count_parameters(folder)


def run_worker(ask: worker.ArchiveJob) -> dict[str, Any]:
    """The worker's reply; the error it left, in its family."""
    if os.environ.get(UNSAFE):
        raise NeedsError(f"{REFUSAL} Unset it: nothing is imported or exported under it.")
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
