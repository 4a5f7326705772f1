"""Uploads: plan files and data that a person brings, kept in the workspace, never run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...core.errors import AskError
from ...core.files import sha256_file, sha256_json
from ...core.workspace import Workspace

KEPT = "files"  # folder of the workspace
DATA_KINDS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
KINDS = (".yaml", ".yml", ".txt", *DATA_KINDS)
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


def find(workspace: Workspace, name: str) -> Path:
    """A file that was kept, by its name there; AskError for any other name."""
    path = workspace.root / KEPT / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise AskError(f"no uploaded file is named '{name[:60]}'. Upload it again.")
    return path


def as_one(workspace: Workspace, names: Sequence[str]) -> Path:
    """Files that were kept as one source: the file, or a folder with links to several of one kind.

    The folder's name holds the files' digests, so the same files are the same folder. Raises AskError.
    """
    paths = [find(workspace, name) for name in dict.fromkeys(names)]
    if len(paths) == 1:
        return paths[0]
    if len(endings := {path.suffix.lower() for path in paths}) > 1:
        raise AskError(
            f"files to learn from must be of one kind; these are {', '.join(sorted(endings))}. Remove some."
        )
    digest = sha256_json({path.name: sha256_file(path) for path in paths})
    folder = workspace.root / KEPT / f"{Path(names[0]).stem}-{digest[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in paths:
        with suppress(FileExistsError):
            os.link(path, folder / path.name)
    return folder
