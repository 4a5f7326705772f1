"""Artifacts: immutable things named by the digest of what they hold, and the store that keeps them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .artifact_refs import REF_TYPES, ArtifactRef, PendingArtifact, parse_ref
from .errors import AskError, IntegrityError
from .files import canonical_json, files_below, sha256_file, sha256_json, sync_folder, write_atomically

_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin"}
RefT = TypeVar("RefT", bound="ArtifactRef")


@dataclass(frozen=True)
class Artifact:
    """An opened, verified artifact: `path` is the folder of its files, `facts` what its maker said of it."""

    ref: ArtifactRef
    path: Path
    facts: Mapping[str, Any]
    parents: tuple[ArtifactRef, ...]
    files: Mapping[str, Mapping[str, Any]]

    @property
    def size_bytes(self) -> int:
        """The sum of its files' sizes."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def read_json(self, name: str) -> Any:
        """One of its files as JSON."""
        return json.loads((self.path / name).read_text())


class ArtifactStore:
    """The workspace's artifacts: `<root>/<kind>/<digest>/{artifact.json, files/...}`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: dict[str, tuple[tuple[str, int, int, int], ...]] = {}

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the store's own disk to build an artifact in; removed afterwards."""
        folder = self.root / ".staging" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(
        self,
        ref_type: type[RefT],
        folder: Path,
        facts: Mapping[str, Any],
        parents: Sequence[ArtifactRef] = (),
    ) -> RefT:
        """Take a folder's files as an artifact (linked when staged here, else copied) and give its reference.

        The digest covers kind, files, facts and parents: what is saved twice is stored once, and what was
        damaged since is put right. Weights must be safetensors or an engine's own format; a pickle is refused
        by name (AskError), a file that changes meanwhile too (IntegrityError).
        """
        files = files_below(folder)
        if not files:
            raise AskError(
                f"an artifact of kind {ref_type.kind} needs at least one file; {folder} holds none."
            )
        for name, path in files.items():
            _refuse_pickle(name, path)
        entries = {name: {"sha256": sha256_file(p), "bytes": p.stat().st_size} for name, p in files.items()}
        manifest = {
            "kind": ref_type.kind,
            "files": entries,
            "facts": dict(facts),
            "parents": sorted(parents),
        }
        ref = ref_type.of(sha256_json(manifest))
        final = self.folder(ref)
        is_damaged = final.exists() and not self._is_whole(ref)
        if final.exists() and not is_damaged:
            return ref
        with self.staging() as stage:
            target = stage / "artifact"
            staged_here = folder.resolve().is_relative_to((self.root / ".staging").resolve())
            for name, path in files.items():
                digest = _take_in(path, target / "files" / name, link=staged_here)
                if digest != entries[name]["sha256"]:
                    raise IntegrityError(
                        f"{path} changed while it was saved. Save it when nothing writes to it."
                    )
            write_atomically(target / "artifact.json", canonical_json(manifest))
            for inner in {path.parent for path in target.rglob("*")}:
                sync_folder(inner)
            final.parent.mkdir(parents=True, exist_ok=True)
            if is_damaged and not self._is_whole(ref):
                with suppress(FileNotFoundError):  # another process puts it right too
                    final.rename(stage / "damaged")
            try:
                target.rename(final)
            except OSError:
                if not final.exists():  # not another process that saved the same thing first
                    raise
        sync_folder(final.parent)
        return ref

    def folder(self, ref: ArtifactRef) -> Path:
        """Where a reference's artifact lies, or would lie."""
        return self.root / ref.kind / ref.digest

    def open(self, ref: ArtifactRef) -> Artifact:
        """The artifact, after its files were checked against its digest.

        Raises AskError when there is none, IntegrityError (naming the file) when one is cut, altered or gone.
        """
        if ref.is_pending:
            raise PendingArtifact(f"the {ref.kind} is made by an earlier step of the plan")
        folder = self.folder(ref)
        if not (folder / "artifact.json").is_file():
            raise AskError(f"{ref.short} not found in {self.root}. `opswright artifacts` lists all.")
        data = (folder / "artifact.json").read_bytes()
        if hashlib.sha256(data).hexdigest() != ref.digest:
            raise IntegrityError(f"{ref.short} was altered: artifact.json does not match its digest.")
        manifest = json.loads(data)
        self._verify_files(ref, folder / "files", manifest["files"])
        return Artifact(
            ref=parse_ref(ref),
            path=folder / "files",
            facts=manifest["facts"],
            parents=tuple(parse_ref(parent) for parent in manifest["parents"]),
            files=manifest["files"],
        )

    def _is_whole(self, ref: ArtifactRef) -> bool:
        try:
            self.open(ref)
        except (AskError, IntegrityError):
            return False
        return True

    def _verify_files(
        self, ref: ArtifactRef, folder: Path, expected: Mapping[str, Mapping[str, Any]]
    ) -> None:
        try:
            found = files_below(folder)
        except AskError as error:
            raise IntegrityError(f"{ref.short} was altered: {error}") from error
        stats = [(name, path.stat()) for name, path in found.items()]
        stamp = tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)
        if self._verified.get(ref) == stamp:
            return
        for name, entry in expected.items():
            if name not in found:
                raise IntegrityError(
                    f"{ref.short} is damaged: {name} is missing. Restore it or make it again."
                )
            size = found[name].stat().st_size
            if size != entry["bytes"]:
                raise IntegrityError(
                    f"{ref.short} is damaged: {name} has {size} bytes, recorded {entry['bytes']}."
                )
            if sha256_file(found[name]) != entry["sha256"]:
                raise IntegrityError(f"{ref.short} was altered: {name} does not match its recorded SHA-256.")
        if extra := sorted(set(found) - set(expected)):
            raise IntegrityError(f"{ref.short} was altered: {extra[0]} was added to it.")
        self._verified[ref] = stamp

    def list(self, kind: str | None = None) -> list[tuple[ArtifactRef, dict[str, Any]]]:
        """Every artifact (of a kind) with its manifest, newest first.

        Its files are not checked, and one whose manifest does not parse is left out: the audit names it.
        """
        rows = []
        for path in self.root.glob(f"{kind or '[a-z]*'}/*/artifact.json"):
            try:
                ref = parse_ref(f"{path.parent.parent.name}:{path.parent.name}")
                rows.append((path.stat().st_mtime_ns, ref, json.loads(path.read_bytes())))
            except (AskError, ValueError):
                continue
        return [(ref, manifest) for _, ref, manifest in sorted(rows, key=lambda row: (-row[0], row[1]))]

    def resolve(self, text: str) -> ArtifactRef:
        """The full reference for `kind:digest` or an unambiguous beginning of it (at least 6 digits)."""
        kind, _, start = text.partition(":")
        if kind not in REF_TYPES or len(start) == 64:
            return parse_ref(text)
        found = [ref for ref, _ in self.list(kind) if ref.digest.startswith(start)] if len(start) >= 6 else []
        if len(found) != 1:
            raise AskError(f"'{text}' matches {len(found)} artifacts; give at least 6 digits that name one.")
        return found[0]


def _refuse_pickle(name: str, path: Path) -> None:
    """AskError for a file that is a pickle by its name, its first bytes, or a pickle inside a zip."""
    suspect = path.suffix.lower() in _PICKLES
    if not suspect and path.suffix != ".safetensors":  # whose first bytes are a length, and may be any
        with path.open("rb") as file:
            start = file.read(4)
        # protocols 2 to 5 open with their number; no opcode is zero
        suspect = len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5 and start[2] != 0
        if start == b"PK\x03\x04" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                suspect = any(Path(inner).suffix.lower() in _PICKLES for inner in archive.namelist())
    if suspect:
        raise AskError(f"{name} may hold a pickle, which runs code when loaded. Save weights as safetensors.")


def _take_in(source: Path, target: Path, link: bool) -> str:
    """Put a file into an artifact, flushed to disk, and give the SHA-256 of what was put there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with suppress(OSError):  # not every file system has links
            os.link(source.resolve(), target)
    if not target.exists():
        shutil.copyfile(source, target)
    handle = os.open(target, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return sha256_file(target)
