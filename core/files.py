"""Canonical JSON, digests and atomic files: the three things every record rests on."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from .errors import AskError

PRIVATE = 0o600  # mode of files that hold what was asked: plans, records, results
_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises AskError for what JSON cannot hold, or would not give back as it was (keys that are not text).
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        data = text.encode()
    except (TypeError, ValueError) as error:
        raise AskError(f"a record must be plain JSON without NaN or infinity: {error}") from error
    if not _has_text_keys(value):
        raise AskError("a record must be plain JSON: every key of a mapping must be text.")
    return data


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(_has_text_keys(inner) for inner in value)
    return True


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in 1 MiB pieces, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its POSIX path relative to it, sorted.

    AskError for a link that leaves the folder, points to a folder or points nowhere: what lies behind those
    could change without the folder's digest.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise AskError(f"{path} is a link that leaves {folder}. Copy the file it points to instead.")
        if path.is_symlink() and not path.is_file():
            raise AskError(f"{path} is a link to no file. Put the files themselves there, or remove it.")
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path
    return found


def sha256_path(path: Path) -> str:
    """The digest of a file, or of a folder as the canonical JSON of its files' digests.

    Raises AskError when there is nothing at the path.
    """
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        return sha256_json({name: sha256_file(file) for name, file in files_below(path).items()})
    raise AskError(f"no file or folder at {path} (looked from {Path.cwd()}). Check the path.")


def read_at_most(path: Path, most_bytes: int, what: str) -> bytes:
    """A file's bytes; AskError when it holds more than `most_bytes`, before more than those are read.

    The file is read and not only asked for its size, which some files tell wrong.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise AskError(f"{path} is too large: a {what} holds at most {most_bytes:,} bytes.")
    return data


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Make an empty file that only its owner may read, unless there is one: for those who open by name."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE))


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that a reader, or a crash at any instant, sees the old bytes or the new.

    mode: who may read it, less what the umask takes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
