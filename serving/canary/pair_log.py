"""Requests that both releases were asked: how each met them, one JSON line a request. No text is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ...core.workspace import Workspace
from .evidence import Pair, ReleaseReply

MOST_ROWS = 50_000  # of one canary; more would tell nothing new


@dataclass(frozen=True)
class PairRow:
    """One request asked of both.

    `kind`: a shadow was drawn among stable's requests; a replay was chosen because one of them failed, so it
    tells whether the request is at fault and is no pair to count. is_timed: both were asked alike, neither as
    the user's own request, so that how long they took can be compared.
    """

    id: str
    kind: Literal["shadow", "replay"]
    canary: ReleaseReply
    stable: ReleaseReply
    agrees: bool | None
    is_timed: bool = False

    @property
    def pair(self) -> Pair:
        """What it says of both."""
        return Pair(self.canary, self.stable, self.agrees, self.is_timed)


class PairLog:
    """The pairs of one canary: written by the gateway, read by whoever judges."""

    def __init__(self, workspace: Workspace, endpoint: str, canary: str) -> None:
        self.path = workspace.endpoints / endpoint / f"pairs-{canary}.jsonl"
        self._read = 0

    def append(self, row: PairRow) -> None:
        """Add one; a pair that cannot be written (full disk) is lost, and costs nothing but time."""
        line = json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n"
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        try:
            os.write(file, line)
        except OSError:
            return
        finally:
            os.close(file)

    def rows(self) -> Iterator[PairRow]:
        """Those that came since the last call; a line that was cut is left out."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._read += len(line)
                    if (row := _parsed(line)) is not None:
                        yield row
        except FileNotFoundError:
            return


def remove_others(folder: Path, canary: str) -> None:
    """Remove the pairs of an endpoint's former canaries: they decided, and their verdict is recorded."""
    for path in folder.glob("pairs-*.jsonl"):
        if path.name != f"pairs-{canary}.jsonl":
            path.unlink(missing_ok=True)


def _parsed(line: bytes) -> PairRow | None:
    try:
        found = json.loads(line)
        return PairRow(
            found["id"],
            found["kind"],
            ReleaseReply(**found["canary"]),
            ReleaseReply(**found["stable"]),
            found["agrees"],
            found.get("is_timed", False),
        )
    except (ValueError, TypeError, KeyError):
        return None
