"""Whether a process that gives signs of life has hung: by silence in which it could have given one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SOON_S = 1.5  # a beat comes each second
_MOST = 6  # times the patience, after which a process is lost however busy the machine is
_NS = 1e-9


class Pulse:
    """The signs of life of one process.

    Silence counts but for the time in which a thread of the process waited for a processor: on a machine that
    is busy a loop is slow, not dead. patience_s: of silence, once it has given a sign; start_s: before.
    """

    def __init__(
        self,
        pid: int,
        patience_s: float,
        start_s: float,
        clock: Callable[[], float] = time.monotonic,
        starved: Callable[[int], float] | None = None,
    ) -> None:
        self.has_begun = False  # whether it ever gave a sign
        self._pid = pid
        self._patience_s = start_s
        self._then_s = patience_s
        self._clock = clock
        self._starved = starved or starved_s
        self._last = clock()
        self._starved_before: float | None = None  # as it was found when silence was first noticed

    def beat(self) -> None:
        """A sign of life came."""
        self.has_begun = True
        self._patience_s = self._then_s
        self.forgive()

    def forgive(self) -> None:
        """Begin to count anew: what it waited for may have been held by a process that hung."""
        self._last = self._clock()
        self._starved_before = None

    def is_lost(self) -> bool:
        """Whether it has been silent for longer than is borne."""
        silent_s = self._clock() - self._last
        if silent_s < min(_SOON_S, self._patience_s):
            return False
        if self._starved_before is None:
            self._starved_before = self._starved(self._pid)
        if silent_s < self._patience_s:
            return False
        excused_s = max(0.0, self._starved(self._pid) - self._starved_before)
        return silent_s - excused_s >= self._patience_s or silent_s >= _MOST * self._patience_s


def starved_s(pid: int) -> float:
    """Seconds that the threads of a process have waited for a processor; 0 where the kernel does not tell."""
    waited = 0
    with suppress(OSError):  # it ended, or there is no /proc
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError, ValueError, IndexError):
                waited += int(path.read_text().split()[1])
    return waited * _NS
