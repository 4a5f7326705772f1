"""Logs that servers write by themselves, kept from growing for ever."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_KEPT = 3
_LOOK_S = 10.0

log = logging.getLogger(__name__)


def put_aside(path: Path, max_bytes: int, kept: int = _KEPT) -> bool:
    """Copy a log that is too large to `NAME.1` (and that to `NAME.2`, ...) and empty it; whether so.

    Its writer goes on in the same file, which it must have opened to append. What it writes between the copy
    and the emptying is lost: a line at most, where it writes at all in that moment.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.replace(_aside(path, number), _aside(path, number + 1))
    shutil.copyfile(path, _aside(path, 1))
    shutil.copymode(path, _aside(path, 1))
    os.truncate(path, 0)
    return True


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


@contextmanager
def kept_small(paths: Sequence[Path], max_bytes: int, look_s: float = _LOOK_S) -> Iterator[None]:
    """Look after logs, from a thread, as long as the context lasts."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(look_s):
            for path in paths:
                try:
                    put_aside(path, max_bytes)
                except OSError as error:  # a full disk: the next look may find room
                    log.warning("log %s could not be put aside: %s", path, error)

    thread = threading.Thread(target=look, name="log-files", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
