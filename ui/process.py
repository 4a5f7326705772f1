"""What a process of the command line owes whoever started it: streams that stand, signals that interrupt.

stdout is for results: what cannot be written there is a failure. stderr is for progress and logs: what cannot
be written there is lost, and fails nothing.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from ..core.exit_code import ExitCode

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def prepare_process() -> None:
    """Make this process ready for a command: once, before anything is read or written."""
    _open_standard_files()
    sys.stderr = _lossy(sys.stderr)
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # else somebody ignores it, as nohup does
            signal.signal(number, _interrupt)


def end_on_signals() -> None:
    """Have the signals that end a process end this one at once: for servers, which are stopped by them."""
    for number in _ENDING:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def last_words() -> Iterator[None]:
    """While inside, further signals are ignored; after it they end the process at once, as an interrupt."""
    is_ours = _interrupt in map(signal.getsignal, _ENDING)  # else the process is somebody else's
    numbers = (signal.SIGINT, *_ENDING) if is_ours else ()
    for number in numbers:
        signal.signal(number, lambda *_: None)
    yield
    for number in numbers:
        signal.signal(number, lambda *_: os._exit(ExitCode.INTERRUPTED))
        atexit.register(signal.signal, number, signal.SIG_IGN)  # the interpreter would put the default back


def flushed(code: int) -> int:
    """The exit code once everything that was printed is written; a failure when it cannot be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # what is left in the buffer goes nowhere, and the interpreter says nothing
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not code and not isinstance(error, BrokenPipeError):  # a reader that has enough needs no words
            print(f"opswright: stdout could not be written: {error}", file=sys.stderr)
        return code or ExitCode.FAILED
    return code


def _open_standard_files() -> None:
    """Open what was handed over closed, so that no file of a workspace gets its number.

    A process below this one writes to numbers 1 and 2, whatever they are: it would write into the ledger.
    """
    ways = (os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)  # stdout to read from: writing results there must fail
    for number, way in enumerate(ways):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)  # takes the lowest free number: this one
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _lossy(stream: TextIO) -> TextIO:
    """The stream of the same file, that loses what cannot be written."""
    return io.TextIOWrapper(
        io.BufferedWriter(_LossyFile(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


class _LossyFile(io.FileIO):
    """A file whose reader may have gone, or whose disk may be full."""

    def write(self, data: Any) -> int:
        """Write, or lose it."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
