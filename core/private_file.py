"""A file of secrets or their hashes that only its owner may read, read again whenever it has changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from .errors import AskError, NeedsError
from .files import PRIVATE, write_atomically

T = TypeVar("T")


class PrivateFile(Generic[T]):
    """What one such file holds, as `parse` makes it of its bytes; what was read stays until the file changes.

    what: the file in words, for errors. make: the command that makes one.
    """

    def __init__(self, path: Path, what: str, make: str, parse: Callable[[bytes], T]) -> None:
        self.path = path
        self._what = what
        self._make = make
        self._parse = parse
        self._seen: tuple[int, ...] = ()
        self._content: T | None = None

    def read(self) -> T:
        """What the file holds now. AskError when it is missing, invalid, or open to others."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise AskError(
                f"the {self._what} {self.path} cannot be read ({error.strerror}). Make it: `{self._make}`"
            ) from error
        seen = _identity(found)
        if seen == self._seen and self._content is not None:
            return self._content
        self._seen, self._content = (
            (),
            None,
        )  # whatever goes wrong below, what was read before no longer counts
        self._refuse_if_open(found)
        content = self._parsed()
        self._seen, self._content = seen, content
        return content

    def write(self, data: bytes) -> None:
        """Replace what the file holds; it is made when there is none."""
        write_atomically(self.path, data, PRIVATE)
        self.path.chmod(PRIVATE)

    def overwrite(self, data: bytes) -> None:
        """Replace what the file holds in its own place, where no room is left for another; spaces fill it up.

        A crash in this moment leaves a file that is refused. OSError for more bytes than it has.
        """
        size = self.path.stat().st_size
        if len(data) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        with self.path.open("r+b") as file:
            file.write(data.ljust(size))
            file.flush()
            os.fsync(file.fileno())

    def _parsed(self) -> T:
        try:
            return self._parse(self.path.read_bytes())
        except PermissionError as error:
            raise NeedsError(f"permission denied: {self._what} {self.path}. Check its owner.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AskError(
                f"invalid {self._what} {self.path} ({error!r}). Make a new one: `{self._make}`"
            ) from error

    def _refuse_if_open(self, found: os.stat_result) -> None:
        """AskError when anyone but its owner may read or write the file, or it is another person's."""
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise AskError(
                f"the {self._what} {self.path} is open to other users (mode {mode:04o}). Close it: "
                f"chmod 600 {self.path}"
            )
        if found.st_uid not in (os.geteuid(), 0):
            raise AskError(
                f"the {self._what} {self.path} belongs to user id {found.st_uid}, you are {os.geteuid()}. "
                f"Make your own: `{self._make}`"
            )


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written, replaced, opened to others or given away."""
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode, found.st_uid)
