"""Whether the gateway can answer users: a real inference by every release that gets traffic."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..keys.shared_store import SharedStore
from ..releases import served_digest
from ..server import ready
from .controller import Controller, LoadedRelease

_READY_S = 10.0
_KEPT_S = 0.5  # what strangers are told may be so old: however many ask, engines answer twice a second


class Readiness:
    """Proves readiness when asked; one proof answers all who ask while it is made."""

    def __init__(self, controller: Controller, store: SharedStore | None = None) -> None:
        self._controller = controller
        self._store = store
        self._proof: asyncio.Task[dict[str, Any]] | None = None
        self._ended = 0.0

    async def document(self, *, is_fresh: bool) -> dict[str, Any]:
        """`ready`, a digest of what answers (`served_digest`), and each release's part in it.

        is_fresh: proven from now on; else it may have been a moment ago.
        """
        kept_s = 0.0 if is_fresh else _KEPT_S
        if self._proof is None or (self._proof.done() and time.monotonic() >= self._ended + kept_s):
            self._proof = asyncio.create_task(self._prove_all())
        return await asyncio.shield(self._proof)

    async def _prove_all(self) -> dict[str, Any]:
        endpoints = self._controller.endpoints
        asked = [
            self._prove(name, endpoint.loaded[release])
            for name, endpoint in sorted(endpoints.items())
            for release in endpoint.applied.routes()[:2]
            if release in endpoint.loaded
        ]
        rows = await asyncio.gather(*asked)
        lost = sum(endpoint.traffic.lost for endpoint in endpoints.values())
        is_ready = bool(rows) and all(row["ready"] for row in rows)
        self._ended = time.monotonic()
        serves = served_digest({row["endpoint"]: row["release"] for row in rows if row["ready"]})
        if self._store is not None and not self._store.keys.is_ready:
            fault = "the keys of the shared store were never read; the gateway's log says why"
            is_ready, serves = False, ""
        else:
            fault = "" if rows else "no endpoint serves a release"
        document = {"ready": is_ready, "serves": serves, "releases": rows, "traffic_rows_lost": lost}
        return document | ({"error": fault} if fault else {})

    async def _prove(self, name: str, loaded: LoadedRelease) -> dict[str, Any]:
        began = time.perf_counter()
        answers = loaded.answers.is_set() and await ready(self._controller.server, loaded.model, _READY_S)
        found = {"endpoint": name, "release": loaded.release.id, "ready": answers}
        took = round((time.perf_counter() - began) * 1000, 3)
        return {**found, "ms": took} if answers else {**found, "error": loaded.error or "no answer"}
