"""Copies finished segments of the logs to where the traffic of several hosts comes together.

It runs beside the gateway, in a thread of its own; no request waits for it. A segment is finished once the
next one is there, which this makes every so often, and when the gateway has ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from ...core.errors import OpswrightError
from ...core.files import write_atomically
from ...core.settings.serving import TrafficSettings
from ...core.workspace import Workspace
from ..releases import endpoint_names
from ..shipped_traffic import LogPart, ShippedTraffic
from .segments import first_time, number_of, segments

log = logging.getLogger(__name__)

_LOGS = ("traffic", "feedback")
_LOOK_S = 2.0
_SETTLED_S = 2.0  # after which no process writes to a segment that has a next one
_LONGEST_PAUSE_S = 60.0
_LAST_S = 20.0  # for what is left when the gateway has ended


class TrafficShipper:
    """Ships the logs of a workspace's endpoints; nothing is shipped twice, and what fails is tried again."""

    def __init__(self, workspace: Workspace, target: ShippedTraffic, every_s: float) -> None:
        self._workspace = workspace
        self._target = target
        self._every_s = every_s
        self._pause_s = _LOOK_S
        self._is_last = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic-shipper", daemon=True)

    @classmethod
    def of(cls, workspace: Workspace) -> TrafficShipper | None:
        """The shipper that the settings want; None where they name no address."""
        settings: TrafficSettings = workspace.settings.serving.traffic
        if settings.ship_to is None:
            return None
        return cls(workspace, ShippedTraffic(settings.ship_to), settings.ship_every_s)

    def start(self) -> None:
        """Ship from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ship what is left, once nobody writes any more; for some seconds, then it stays here."""
        self._is_last = True
        self._stop.set()
        self._thread.join(timeout=_LAST_S)
        if self._thread.is_alive():
            log.error("not all traffic was shipped to %s before the gateway ended", self._target.address)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            self._pause_s = _LOOK_S if self.ship() else min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self.ship()

    def ship(self) -> bool:
        """Ship what is finished; whether nothing failed."""
        is_well = True
        for name in endpoint_names(self._workspace):
            try:
                self._ship_endpoint(name)
            except (OpswrightError, OSError) as error:
                is_well = False
                log.error("traffic of %s is not shipped, and will be tried again: %s", name, error)
            except Exception:
                is_well = False
                log.exception("shipping met an error of its own at %s and goes on", name)
        return is_well

    def _ship_endpoint(self, endpoint: str) -> None:
        folder = self._workspace.endpoints / endpoint
        noted = _Noted.of(folder)
        for name in _LOGS:
            self._finish(folder, name)
            for path in segments(folder, name)[:-1]:
                number = number_of(path)
                if number <= noted.shipped.get(name, 0):
                    continue
                if not self._is_last and time.time() - path.stat().st_mtime < _SETTLED_S:
                    break
                if number > (last := noted.shipped.get(name, 0)) + 1:
                    gone = f"{number - last - 1} segments of the {name} log of {endpoint}"
                    log.error("%s were removed here before they could be shipped", gone)
                self._ship_segment(endpoint, path, noted.writer)
                noted.shipped[name] = number
                noted.write()

    def _ship_segment(self, endpoint: str, path: Path, writer: str) -> None:
        data = path.read_bytes()
        if not data:
            return
        first = first_time(path)
        day = first[:10] if first else datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        log_name, _, _ = path.stem.rpartition("-")
        digest = hashlib.sha256(data).hexdigest()
        self._target.put(endpoint, LogPart(day, log_name, writer, number_of(path), digest), data)

    def _finish(self, folder: Path, name: str) -> None:
        """Begin a next segment where the newest is old enough: who writes goes on in that."""
        found = segments(folder, name)
        if not found or not found[-1].stat().st_size:
            return
        began = first_time(found[-1])
        if not self._is_last and began is not None and _age_s(began) < self._every_s:
            return
        following = folder / f"{name}-{number_of(found[-1]) + 1:06d}.jsonl"
        following.touch(mode=0o600)


class _Noted:
    """What of a folder's logs was shipped, and by which name; it stays with the folder."""

    def __init__(self, path: Path, writer: str, shipped: dict[str, int]) -> None:
        self.path = path
        self.writer = writer
        self.shipped = shipped

    @classmethod
    def of(cls, folder: Path) -> _Noted:
        path = folder / "shipping.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, str(found["writer"]), {str(k): int(v) for k, v in found["shipped"].items()})
        except FileNotFoundError:
            noted = cls(path, secrets.token_hex(8), {})
            noted.write()  # before anything has that name
            return noted

    def write(self) -> None:
        document = {"writer": self.writer, "shipped": self.shipped}
        write_atomically(self.path, (json.dumps(document) + "\n").encode(), 0o600)


def own_writer(folder: Path) -> str | None:
    """The name by which the logs of an endpoint's folder are shipped; None for one that never shipped."""
    return _Noted.of(folder).writer if (folder / "shipping.json").is_file() else None


def _age_s(at: str) -> float:
    try:
        return time.time() - datetime.fromisoformat(at).timestamp()
    except ValueError:
        return float("inf")
