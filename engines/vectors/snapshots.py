"""Files of a local Milvus that several processes use at once: nobody ever writes what another one reads.

Milvus Lite lets one process open a folder. So a folder here is published whole and never opened where it
lies: who reads opens a copy, who writes prepares the next one beside it and renames. A crash leaves
the one before. `current` names the folder in use.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import IntegrityError
from ...core.files import PRIVATE, canonical_json, files_below, sync_folder, write_atomically

_MANIFEST = "snapshot.json"
_TRANSIENT = {"LOCK"}
_KEPT = 2  # the one in use, and the one before it, which somebody may be copying
_ATTEMPTS = 5
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Snapshot:
    """A folder that was published: its name, and what its maker said of it."""

    name: str
    facts: Mapping[str, Any]


class SnapshotFolder:
    """Where snapshots lie; it may be thrown away as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_private = False

    def can_be_written(self) -> bool:
        """Whether this process may publish here."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, PRIVATE))
        except OSError as error:
            if error.errno in _READ_ONLY:
                return False
            raise
        return os.access(self.folder, os.W_OK)

    def keep_private(self) -> None:
        """Go on in a folder of this process's own, with a copy of what is in use; removed when it ends."""
        snapshot, shared = self.current(), self.folder
        self.folder = Path(tempfile.mkdtemp(prefix="opswright-memory-"))
        self.is_private = True
        weakref.finalize(self, _remove, self.folder, os.getpid())
        if snapshot is None:
            return
        try:
            with SnapshotFolder(shared).copied(snapshot) as files:
                self.publish(files, snapshot.facts)
        except (IntegrityError, OSError):
            return  # it is made anew

    def current(self) -> Snapshot | None:
        """The snapshot in use; None where there is none, or none that can be read."""
        try:
            name = (self.folder / "current").read_text()
            if name != Path(name).name:
                return None
            return Snapshot(name, json.loads((self.folder / name / _MANIFEST).read_bytes())["facts"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    @contextmanager
    def copied(self, snapshot: Snapshot) -> Iterator[Path]:
        """A copy of a snapshot's files for this process alone, removed afterwards.

        IntegrityError when a file is cut, altered, added or gone.
        """
        place = Path(tempfile.mkdtemp(prefix="opswright-memory-"))
        try:
            self._copy(snapshot.name, place)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def copied_current(self) -> Iterator[tuple[Snapshot, Path] | None]:
        """The snapshot in use and a copy of its files; None without one. Errors as of `copied`."""
        for attempt in range(_ATTEMPTS):
            snapshot = self.current()
            if snapshot is None:
                yield None
                return
            place = Path(tempfile.mkdtemp(prefix="opswright-memory-"))
            try:
                try:
                    self._copy(snapshot.name, place)
                except (IntegrityError, OSError):
                    newer = self.current()
                    if attempt + 1 < _ATTEMPTS and newer is not None and newer.name != snapshot.name:
                        continue  # it was replaced, and tidied away, while it was copied
                    raise
                yield snapshot, place
                return
            finally:
                shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def writing(self, wait: bool = True) -> Iterator[bool]:
        """Hold what only one process may do at a time; gives False at once where another one does it."""
        import fcntl

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, PRIVATE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def publish(self, files: Path, facts: Mapping[str, Any]) -> Snapshot:
        """Make a copy of a folder's files the snapshot in use; to be called while `writing`."""
        name = f"s-{secrets.token_hex(6)}"
        stage = self.folder / f".{name}"
        try:
            taken = {}
            for path, source in files_below(files).items():
                if source.name not in _TRANSIENT:
                    taken[path] = _copy_file(source, stage / path)
            _remake_empty_folders(files, stage)
            document = {"facts": dict(facts), "files": taken}
            write_atomically(stage / _MANIFEST, canonical_json(document), PRIVATE)
            stage.rename(self.folder / name)
            sync_folder(self.folder)
            write_atomically(self.folder / "current", name.encode(), PRIVATE)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        self._tidy(name)
        return Snapshot(name, dict(facts))

    def forget(self) -> None:
        """Let nothing be in use; files that somebody may be copying stay until the next is published."""
        (self.folder / "current").unlink(missing_ok=True)

    def _copy(self, name: str, place: Path) -> None:
        source = self.folder / name
        try:
            wanted = json.loads((source / _MANIFEST).read_bytes())["files"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"{source} is no snapshot: {error}") from error
        found = {path for path in files_below(source) if path != _MANIFEST}
        if found != set(wanted):
            odd = sorted(found ^ set(wanted))[0]
            raise IntegrityError(f"{source}: {odd} is missing, or was added.")
        for path, digest in wanted.items():
            if _copy_file(source / path, place / path) != digest:
                raise IntegrityError(f"{source / path} was altered: it does not match its digest.")
        _remake_empty_folders(source, place)

    def _tidy(self, current: str) -> None:
        """Remove all but the newest few, and what a process that was killed left."""
        with suppress(OSError):
            for path in self.folder.glob(".s-*"):
                shutil.rmtree(path, ignore_errors=True)
            every = sorted(self.folder.glob("s-*"), key=lambda path: -path.stat().st_mtime_ns)
            for path in [one for one in every if one.name != current][_KEPT - 1 :]:
                shutil.rmtree(path, ignore_errors=True)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a fork's end takes nothing from its parent
        shutil.rmtree(folder, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> str:
    """Copy a file; gives the SHA-256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with (
        source.open("rb") as read,
        open(target, "wb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as write,
    ):
        while chunk := read.read(1 << 20):
            digest.update(chunk)
            write.write(chunk)
    return digest.hexdigest()


def _remake_empty_folders(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(parents=True, exist_ok=True)
