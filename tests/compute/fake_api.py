"""An API server of Kubernetes in a thread: real HTTP, real Status objects, lists, watches and faults.

It keeps what it is given and tells who watches; what becomes of that, whoever inherits decides.
`faults` say what happens to the next requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
KINDS = {"jobs": "Job", "trainjobs": "TrainJob", "pods": "Pod", "events": "Event"}
_TICK_S = 0.02


@dataclass
class Fault:
    """What the next requests of a method to a path get instead of an answer."""

    method: str
    part: str  # of the path
    code: int = 0  # 0: no reply at all
    times: int = 1
    after: bool = False  # the request is carried out first: only the answer is lost
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the connection ends in the middle of the answer


class Refusal(Exception):
    """A Status that goes back to the client."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class FakeApi:
    """The server and what it holds."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, Json]] = []
        self.watches: list[str] = []  # the query of each watch that was asked for
        self.tells = True  # whether watches get what happens; else they stay open and silent
        self.gitversion = {"major": "1", "minor": "34"}
        self.url = ""
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._seen: dict[tuple[str, str, str], tuple[str, Json]] = {}
        self._journal: list[tuple[int, str, str, str, Json]] = []  # version, plural, namespace, type, object
        self._forgotten = 0  # versions up to this one cannot be watched from any more
        self._version = 0
        self._cuts = 0
        self._lock = threading.RLock()
        self._count = itertools.count(1)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(60)

    def cut_watches(self) -> None:
        """End the connections of all watches, as a proxy that restarts does."""
        self._cuts += 1

    def compact(self) -> None:
        """Forget what happened: who goes on watching from there gets 410."""
        with self._lock:
            self._look()
            self._forgotten, self._journal = self._version, []

    # what happened

    def _look(self) -> None:
        """Write down what changed since the last look, each with a version of its own."""
        for key, thing in self._objects.items():
            text = json.dumps(thing, sort_keys=True)
            if self._seen.get(key, ("",))[0] != text:
                self._note(key, "MODIFIED" if key in self._seen else "ADDED", thing)
                self._seen[key] = text, json.loads(text)
        for key in [key for key in self._seen if key not in self._objects]:
            self._note(key, "DELETED", self._seen.pop(key)[1])

    def _note(self, key: tuple[str, str, str], change: str, thing: Json) -> None:
        self._version += 1
        metadata = {**thing["metadata"], "resourceVersion": str(self._version)}
        self._journal.append(
            (self._version, key[0], key[1], change, json.loads(json.dumps({**thing, "metadata": metadata})))
        )

    # the API

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text() or "{}")
        with self._lock:
            self.requests.append((request.method, request.rel_url.raw_path, body))
            fault = self._fault(request)
        if request.query.get("watch"):
            self.watches.append(request.query_string)
            if fault is not None and (fault.cut or fault.code == 200):
                return await _ends_at_once(request, is_cut=fault.cut)
        if fault is not None and not fault.after and not fault.cut:
            return await self._fail(fault)
        try:
            if request.query.get("watch"):
                return await self._watch(request)
            reply = self._answer(request, body)
        except Refusal as refused:
            reply = status_reply(refused.code, refused.reason, str(refused))
        if fault is not None and fault.cut:
            return await _cut(request, reply)
        return await self._fail(fault) if fault is not None else reply

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            method = "WATCH" if request.query.get("watch") else request.method
            if fault.times > 0 and fault.method == method and fault.part in request.path:
                fault.times -= 1
                return fault
        return None

    async def _fail(self, fault: Fault) -> web.StreamResponse:
        if fault.code == 0:
            await self._stopped.wait()
        reasons = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 403: "Forbidden"}
        reply = status_reply(fault.code, reasons.get(fault.code, "Unknown"), f"injected {fault.code}")
        reply.headers.update(fault.headers)
        return reply

    def _answer(self, request: web.Request, body: Json) -> web.Response:
        parts = request.path.strip("/").split("/")
        if parts == ["version"]:
            return web.json_response(self.gitversion)
        at = parts.index("namespaces")
        space, plural, rest = parts[at + 1], parts[at + 2], parts[at + 3 :]
        if plural not in KINDS:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        with self._lock:
            if request.method == "POST":
                return self._create(plural, space, body, bool(request.query.get("dryRun")))
            if request.method == "DELETE":
                return self._delete(plural, space, rest[0], body)
            if rest[1:] == ["log"]:
                return web.Response(body=self._log(self._get(plural, space, rest[0])))
            if rest:
                return web.json_response(self._get(plural, space, rest[0]))
            found = [one for (kind, ns, _), one in self._objects.items() if (kind, ns) == (plural, space)]
            self._look()
            items = [one for one in found if _is_picked(one, request.query)]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    def _get(self, plural: str, space: str, name: str) -> Json:
        try:
            return self._objects[plural, space, name]
        except KeyError:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found') from None

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """Tell what happens from a version on, one JSON a line, until its time is over or it is cut."""
        parts = request.path.strip("/").split("/")
        at = parts.index("namespaces")
        space, plural = parts[at + 1], parts[at + 2]
        version = int(request.query.get("resourceVersion") or 0)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        until = time.monotonic() + float(request.query.get("timeoutSeconds", 300))
        cuts = self._cuts
        while time.monotonic() < until and not self._stopped.is_set():
            if self._cuts > cuts:
                assert request.transport is not None
                request.transport.close()
                break
            with self._lock:
                self._look()
                lines, version = self._news(plural, space, version, request.query)
            with contextlib.suppress(ConnectionError):
                for line in lines:
                    await response.write(line)
            if b'"ERROR"' in b"".join(lines):
                break
            await asyncio.sleep(_TICK_S)
        return response

    def _news(self, plural: str, space: str, version: int, query: Any) -> tuple[list[bytes], int]:
        if version < self._forgotten:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            return [_line("ERROR", gone)], version
        if not self.tells:
            return [], version
        fresh = [one for one in self._journal if one[0] > version]
        lines = [
            _line(change, thing)
            for _, kind, ns, change, thing in fresh
            if (kind, ns) == (plural, space) and _is_picked(thing, query)
        ]
        if fresh and not lines and query.get("allowWatchBookmarks"):
            lines = [_line("BOOKMARK", {"metadata": {"resourceVersion": str(fresh[-1][0])}})]
        return lines, fresh[-1][0] if fresh else version

    def _create(self, plural: str, space: str, body: Json, is_dry: bool) -> web.Response:
        raise NotImplementedError

    def _delete(self, plural: str, space: str, name: str, options: Json) -> web.Response:
        raise NotImplementedError

    def _log(self, pod: Json) -> bytes:
        raise NotImplementedError

    def _stored(self, plural: str, thing: Json) -> Json:
        now = f"{time.time():.6f}"
        metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": now, **thing["metadata"]}
        return {
            **thing,
            "kind": KINDS[plural],
            "metadata": {**metadata, "resourceVersion": str(next(self._count))},
        }

    def _remove(self, plural: str, thing: Json) -> None:
        self._objects.pop((plural, thing["metadata"]["namespace"], thing["metadata"]["name"]), None)


def _is_picked(thing: Json, query: Any) -> bool:
    """Whether selectors of labels and fields pick an object."""
    labels = thing["metadata"].get("labels", {})
    for selector in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = selector.partition("=")
        if labels.get(key) != value:
            return False
    for selector in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = selector.partition("=")
        part, _, name = key.partition(".")
        assert key in ("involvedObject.uid", "metadata.name"), f"no field selector {key}"
        if thing[part][name] != value:
            return False
    return True


def _line(change: str, thing: Json) -> bytes:
    return json.dumps({"type": change, "object": thing}).encode() + b"\n"


def status_reply(code: int, reason: str, message: str) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(status, status=code)


async def _cut(request: web.Request, reply: web.Response) -> web.StreamResponse:
    """The first half of an answer, then the end of the connection."""
    body = reply.body
    assert isinstance(body, bytes)
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


async def _ends_at_once(request: web.Request, is_cut: bool) -> web.StreamResponse:
    """A watch that tells nothing and is over, or breaks off in the middle of a word."""
    response = web.StreamResponse()
    await response.prepare(request)
    if is_cut:
        await response.write(b'{"type": "ADD')
        assert request.transport is not None
        request.transport.close()
    return response
