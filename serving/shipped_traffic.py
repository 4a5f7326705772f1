"""Where gateways of several hosts put the finished parts of their logs, and how a workspace gets them back.

ADDRESS/ENDPOINT/DAY/LOG-WRITER-NUMBER-SHA256.jsonl: no two writers share a name, and a name tells its bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import AskError, BackendError, IntegrityError, NeedsError
from ..core.files import PRIVATE, write_atomically
from ..core.install import install_hint
from ..core.workspace import Workspace
from .gateway.segments import SEGMENT_BYTES, pulled_folder

_PART = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})/(?P<log>traffic|feedback)-(?P<writer>[0-9a-f]{16})"
    r"-(?P<number>\d{6,12})-(?P<digest>[0-9a-f]{64})\.jsonl"
)
_MOST_BYTES = 4 * SEGMENT_BYTES  # of a part; one may be longer than a segment by its last line
_SHOWN = 5
_LOCAL = {"file", "local"}


@dataclass(frozen=True)
class LogPart:
    """A finished segment of one writer's log; digest: SHA-256 of its bytes, 64 hex digits."""

    day: str
    log: str
    writer: str
    number: int
    digest: str

    @classmethod
    def of(cls, name: str) -> LogPart | None:
        """The part of a name below its endpoint's; None for any other file."""
        found = _PART.fullmatch(name)
        if found is None:
            return None
        day, log, writer, number, digest = found.groups()
        part = cls(day, log, writer, int(number), digest)
        return part if part.name == name else None  # digits of another script, zeros too many

    @property
    def name(self) -> str:
        """Where it lies below its endpoint's folder."""
        return f"{self.day}/{self.log}-{self.writer}-{self.number:06d}-{self.digest}.jsonl"


class ShippedTraffic:
    """An address that holds parts of logs: s3://BUCKET/PREFIX, or a folder.

    NeedsError without the package that speaks to it; BackendError where it does not do as it is asked.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(address, use_listings_cache=False)
        except ImportError as error:
            message = f"{address} needs a package: {error}. Install: {install_hint('remote')}"
            raise NeedsError(message) from error
        except ValueError as error:
            raise AskError(f"{address} is no address to ship traffic to: {error}.") from error
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self._is_local = not _LOCAL.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def put(self, endpoint: str, part: LogPart, data: bytes) -> None:
        """Put one there, and read it back; one that is there already, whole, is left."""
        path = f"{self._root}/{endpoint}/{part.name}"
        try:
            self._fs.invalidate_cache()
            is_there = self._fs.exists(path) and self._digest(path) == part.digest
            if not is_there:
                self._write(path, data)
                is_there = self._digest(path) == part.digest
        except Exception as error:  # each kind of store has errors of its own
            raise self._failed(error) from error
        if not is_there:
            raise BackendError(f"{self.address} gave back other bytes of {part.name} than were put there")

    def parts(self, endpoint: str) -> Iterator[LogPart]:
        """Every part of an endpoint's logs that is there."""
        folder = f"{self._root}/{endpoint}"
        try:
            self._fs.invalidate_cache()
            found: Sequence[str] = sorted(self._fs.find(folder)) if self._fs.exists(folder) else []
        except Exception as error:
            raise self._failed(error) from error
        parts = (LogPart.of(path.rpartition(f"{folder.lstrip('/')}/")[2]) for path in found)
        yield from (part for part in parts if part is not None)

    def get(self, endpoint: str, part: LogPart) -> bytes:
        """The bytes of a part; IntegrityError for other ones than its name tells, or too many."""
        path = f"{self._root}/{endpoint}/{part.name}"
        try:
            size = int(self._fs.size(path) or 0)
            data: bytes = self._fs.cat_file(path) if size <= _MOST_BYTES else b""
        except Exception as error:
            raise self._failed(error) from error
        if size > _MOST_BYTES:
            raise IntegrityError(
                f"{part.name} of endpoint {endpoint} at {self.address} has {size:,} bytes, more than any "
                "gateway ships at once. Nothing of it was taken; remove it there."
            )
        if hashlib.sha256(data).hexdigest() != part.digest:
            raise IntegrityError(
                f"{part.name} of endpoint {endpoint} at {self.address} was altered or cut: not what its "
                "name tells. Nothing of it was taken; remove it there, or put back what was shipped."
            )
        return data

    def _digest(self, path: str) -> str:
        return hashlib.sha256(self._fs.cat_file(path)).hexdigest()

    def _write(self, path: str, data: bytes) -> None:
        """All of it at once: stores of objects do so by themselves, a folder by renaming."""
        if self._is_local:
            write_atomically(Path(path), data, PRIVATE)
        else:
            self._fs.pipe_file(path, data)

    def _failed(self, error: Exception) -> BackendError:
        why = f"{type(error).__name__}: {error}"
        return BackendError(f"{self.address} does not serve: {why[:300]}")


@dataclass(frozen=True)
class Pulled:
    """What a pull brought: parts that are new here, their bytes, and those that were here before."""

    new: int
    size: int
    known: int


def pull(workspace: Workspace, endpoint: str, address: str, since: str | None, own: str | None) -> Pulled:
    """Bring an endpoint's parts into the workspace, each once; samples, drift and retraining then read them.

    since: only parts of that UTC day, YYYY-MM-DD, or later. own: the writer of this workspace, whose lines
    are here already. IntegrityError, once all others are here, that names each part which was altered.
    """
    source = ShippedTraffic(address)
    new = size = known = 0
    altered: list[str] = []
    for part in source.parts(endpoint):
        if part.writer == own or (since is not None and part.day < since[:10]):
            continue
        path = (
            pulled_folder(workspace.endpoints / endpoint, part.writer) / f"{part.log}-{part.number:06d}.jsonl"
        )
        try:
            if path.is_file():
                known += 1
                _check_same(path, part, endpoint)
                continue
            data = source.get(endpoint, part)
        except IntegrityError as error:
            altered.append(str(error))
            continue
        write_atomically(path, data, PRIVATE)
        new, size = new + 1, size + len(data)
    if altered:
        more = f" And {len(altered) - _SHOWN} more." if len(altered) > _SHOWN else ""
        raise IntegrityError(f"{' '.join(altered[:_SHOWN])}{more} All others are here ({new:,} are new).")
    return Pulled(new, size, known)


def _check_same(path: Path, part: LogPart, endpoint: str) -> None:
    """IntegrityError where a writer shipped two parts of one number, or the one here was altered."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != part.digest:
        raise IntegrityError(
            f"{path} is not {part.name} of endpoint {endpoint}: altered here, or shipped twice. Remove "
            "it and pull again, or remove the wrong part there."
        )
