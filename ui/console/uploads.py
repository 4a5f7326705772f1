"""Uploads: plan files and data that a person brings, kept in the workspace, never run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ...core.errors import AskError
from ...core.files import sha256_file
from ...core.workspace import Workspace

KEPT = "files"  # folder of the workspace
KINDS = (".yaml", ".yml", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet")
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def keep(workspace: Workspace, received: Path, name: str, folder: Path, limit_bytes: int) -> Path:
    """Move a received file into the workspace, under its own name made plain.

    `folder` is where the server puts what it receives: a file elsewhere is refused. Another file of the same
    name is kept, and this one gets the start of its digest into its name. Raises AskError.
    """
    if not received.resolve().is_relative_to(folder.resolve()) or not received.is_file():
        raise AskError("that file was not uploaded to this console.")
    plain = _NAME.sub("_", Path(name).name).lstrip(".")
    ending = Path(plain).suffix.lower()
    if ending not in KINDS:
        raise AskError(f"unsupported file type: '{name[:60]}' (supported: {', '.join(KINDS)}).")
    if not (size := received.stat().st_size):
        raise AskError(f"'{name[:60]}' is empty.")
    if size > limit_bytes:
        raise AskError(
            f"'{name[:60]}' is too large: {size / 1e6:.1f} MB, the limit is {limit_bytes / 1e6:.0f} MB."
        )
    target = workspace.root / KEPT / plain
    target.parent.mkdir(exist_ok=True)
    if target.exists() and sha256_file(target) != (digest := sha256_file(received)):
        target = target.with_name(f"{target.stem}-{digest[:8]}{target.suffix}")
    shutil.move(received, target)
    target.chmod(0o600)
    return target
