"""The processes of one gateway: who each is, what it left of itself, and how busy the others are."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.workspace import Workspace
from . import processes
from .server_selection import serving_folder

NUMBER = "OPSWRIGHT_GATEWAY_WORKER"  # of the process and of all: 0/2 and 1/2
CONTROL = "OPSWRIGHT_GATEWAY_CONTROL"  # the token that opens all of them
BEATS = "OPSWRIGHT_GATEWAY_BEATS"  # descriptor that signs of life are written to
TABLE = "OPSWRIGHT_GATEWAY_TABLE"  # descriptor of the connection table
_NOT_ACCEPTING = -1
_CELL_BYTES = 8


@dataclass(frozen=True)
class GatewayWorker:
    """Which of a gateway's processes this is. Number 0 looks after the engine server and watches canaries.

    beats, table: descriptors that the supervisor handed over, None without one.
    """

    number: int = 0
    count: int = 1
    control: str = field(default="", repr=False)
    beats: int | None = None
    table: int | None = None

    @classmethod
    def of_environment(cls) -> GatewayWorker:
        """What the supervisor said; a gateway without one is the only process."""
        number, _, count = os.environ.get(NUMBER, "0/1").partition("/")
        beats, table = (os.environ.get(name) for name in (BEATS, TABLE))
        return cls(
            int(number),
            int(count),
            os.environ.pop(CONTROL, ""),
            None if beats is None else int(beats),
            None if table is None else int(table),
        )

    @property
    def environment(self) -> dict[str, str]:
        """How a process is told who it is."""
        said = {NUMBER: f"{self.number}/{self.count}", CONTROL: self.control}
        descriptors = {BEATS: self.beats, TABLE: self.table}
        return said | {name: str(number) for name, number in descriptors.items() if number is not None}

    def share(self, total: int) -> int:
        """This worker's part of a number that is for all of them; the parts add up to it."""
        return total // self.count + (self.number < total % self.count)


def worker_record_path(workspace: Workspace, number: int) -> Path:
    """Where a worker leaves its process id, ports and control token."""
    return serving_folder(workspace) / ("gateway.json" if number == 0 else f"gateway-{number}.json")


def worker_records(workspace: Workspace) -> list[dict[str, Any]]:
    """The records of the workers that run, in the order of their numbers."""
    found = (processes.read_record(path) for path in _record_paths(workspace))
    running = [record for record in found if record is not None and processes.is_running(record)]
    return sorted(running, key=lambda record: int(record.get("worker", 0)))


def remove_worker_records(workspace: Workspace) -> None:
    """Remove what workers left, once none runs."""
    for path in _record_paths(workspace):
        path.unlink(missing_ok=True)


def _record_paths(workspace: Workspace) -> list[Path]:
    named = re.compile(r"gateway(-\d+)?\.json")
    return [path for path in serving_folder(workspace).glob("gateway*.json") if named.fullmatch(path.name)]


def kept_metrics_path(workspace: Workspace, number: int) -> Path:
    """Where a worker keeps what it last told of its metrics, for the one that takes its place."""
    return serving_folder(workspace) / f"metrics-{number}.json"


def forget_metrics(workspace: Workspace) -> None:
    """Let all workers count from nothing, as those of a new gateway do."""
    for path in serving_folder(workspace).glob("metrics-*.json"):
        path.unlink(missing_ok=True)


class ConnectionTable:
    """How many connections each worker has, in memory that all of them share; -1: it takes none."""

    def __init__(self, descriptor: int, count: int) -> None:
        self._count = count
        self._memory = mmap.mmap(descriptor, count * _CELL_BYTES)
        self._cells = memoryview(self._memory).cast("q")

    @classmethod
    def of_size(cls, count: int) -> tuple[ConnectionTable, int]:
        """A new one in which nobody takes connections, and the descriptor of its memory."""
        import tempfile

        with tempfile.TemporaryFile() as file:
            file.truncate(count * _CELL_BYTES)
            descriptor = os.dup(file.fileno())
        table = cls(descriptor, count)
        for number in range(count):
            table.leave(number)
        return table, descriptor

    def tell(self, number: int, connections: int) -> None:
        """Note how many connections a worker has: it takes some."""
        self._cells[number] = connections

    def leave(self, number: int) -> None:
        """Note that a worker takes no more connections: it ended, or is about to."""
        self._cells[number] = _NOT_ACCEPTING

    def others(self, number: int) -> Iterator[int]:
        """The connections of each other worker that takes some."""
        for other, connections in enumerate(self._cells):
            if other != number and connections != _NOT_ACCEPTING:
                yield connections
