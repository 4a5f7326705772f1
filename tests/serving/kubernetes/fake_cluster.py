"""A stand-in for a cluster's API server: real HTTP, real Status documents, server-side apply, pods.

`ails` says what is wrong: `image` (no pod gets its image), `never` (pods never become ready), `liar` (a
gateway pod says that it serves something else), `quota` (the server refuses a Deployment), or the name of a
kind that is not installed.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from opswright.serving.releases import served_digest

Key = tuple[str, str, str]  # plural, namespace, name
DIGEST = "opswright.dev/release-digest"
_KINDS = {
    "scaledobjects": "ScaledObject",
    "servicemonitors": "ServiceMonitor",
    "inferenceservices": "InferenceService",
}


def status_of(code: int, reason: str, message: str) -> web.Response:
    """An error as an API server writes it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(body, status=code)


@dataclass
class FakeCluster:
    """What the server holds and was asked."""

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    owners: dict[Key, dict[str, str]] = field(default_factory=dict)  # top field of spec to its manager
    ails: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)  # without those that only try or read
    tried: int = 0
    secrets_read: int = 0
    endpoint_of: dict[str, tuple[str, str]] = field(default_factory=dict)  # digest to endpoint and release id
    url: str = ""
    _number: int = 0

    def names(self, plural: str) -> list[str]:
        return sorted(name for kind, _, name in self.objects if kind == plural)

    def add(self, plural: str, namespace: str, name: str, **body: Any) -> None:
        metadata = {"name": name, "namespace": namespace, **body.pop("metadata", {})}
        self.objects[plural, namespace, name] = {"metadata": metadata, **body}

    def app(self) -> web.Application:
        app = web.Application()
        for prefix in ("/api/{version}", "/apis/{group}/{version}"):
            app.router.add_get(prefix, self._group)
            collection = prefix + "/namespaces/{namespace}/{plural}"
            app.router.add_get(collection, self._list)
            app.router.add_get(collection + "/{name}", self._get)
            app.router.add_patch(collection + "/{name}", self._apply)
            app.router.add_delete(collection + "/{name}", self._delete)
            app.router.add_get(collection + "/{name}/proxy/{path:.*}", self._proxy)
        return app

    async def _group(self, request: web.Request) -> web.Response:
        lacking = {"monitoring.coreos.com": "ServiceMonitor", "keda.sh": "ScaledObject"}
        if lacking.get(request.match_info.get("group", "")) in self.ails:
            return status_of(404, "NotFound", "the server could not find the requested resource")
        return web.json_response({"kind": "APIResourceList", "resources": []})

    def _key(self, request: web.Request) -> Key:
        info = request.match_info
        return info["plural"], info["namespace"], info["name"]

    async def _get(self, request: web.Request) -> web.Response:
        key = self._key(request)
        if key not in self.objects:
            return status_of(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        if key[0] == "secrets" and "PartialObjectMetadata" not in request.headers["Accept"]:
            self.secrets_read += 1
        self._settle(key)
        return web.json_response(self.objects[key])

    async def _list(self, request: web.Request) -> web.Response:
        plural, namespace = request.match_info["plural"], request.match_info["namespace"]
        if _KINDS.get(plural) in self.ails:
            return status_of(404, "NotFound", "the server could not find the requested resource")
        selector = request.query.get("labelSelector", "")
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        items = [
            one
            for (kind, space, _), one in self.objects.items()
            if (kind, space) == (plural, namespace)
            and wanted.items() <= one["metadata"].get("labels", {}).items()
        ]
        return web.json_response({"kind": "List", "items": items})

    async def _apply(self, request: web.Request) -> web.Response:
        key, query = self._key(request), request.query
        if request.headers["Content-Type"] != "application/apply-patch+yaml" or "fieldManager" not in query:
            return status_of(415, "UnsupportedMediaType", "expected application/apply-patch+yaml")
        given = json.loads(await request.text())
        if key[0] == "deployments" and "quota" in self.ails:
            return status_of(403, "Forbidden", "exceeded quota: compute")
        now = self.objects.get(key, {})
        if now.get("immutable") and now.get("data") != given.get("data"):
            return status_of(422, "Invalid", "field is immutable when `immutable` is set")
        manager, owners = query["fieldManager"], self.owners.setdefault(key, {})
        spec, held = given.get("spec", {}), now.get("spec", {})
        taken = [
            name
            for name, value in spec.items()
            if owners.get(name, manager) != manager and held.get(name) != value
        ]
        if taken and query.get("force") != "true":
            message = f'Apply failed with 1 conflict: conflict with "{owners[taken[0]]}": .spec.{taken[0]}'
            return status_of(409, "Conflict", message)
        if query.get("dryRun") == "All":
            self.tried += 1
            return web.json_response(given)
        self.calls.append(("apply", "/".join(key[::2])))
        kept = {name: value for name, value in held.items() if owners.get(name) not in (None, manager)}
        self.owners[key] = {**owners, **dict.fromkeys(spec, manager)}
        self._store(key, given, {**kept, **spec})
        return web.json_response(self.objects[key])

    def _store(self, key: Key, given: dict[str, Any], spec: dict[str, Any]) -> None:
        before = self.objects.get(key, {})
        found = {name: value for name, value in given.items() if name != "spec"}
        if spec:
            found["spec"] = spec
        generation = before.get("metadata", {}).get("generation", 0)
        generation += before.get("spec") != found.get("spec")
        self._number += 1
        found["metadata"] = {
            **given["metadata"],
            "uid": f"u{self._number}",
            "resourceVersion": str(self._number),
            "generation": generation,
            "managedFields": [{"manager": "opswright"}],
        }
        self.objects[key] = found

    async def _delete(self, request: web.Request) -> web.Response:
        key = self._key(request)
        if key not in self.objects:
            return status_of(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        self.calls.append(("delete", "/".join(key[::2])))
        del self.objects[key]
        if key[0] == "deployments":
            self._remove_pods(key)
        return web.json_response({"kind": "Status", "status": "Success"})

    def _remove_pods(self, key: Key) -> None:
        for pod in [one for one in self.objects if one[0] == "pods" and one[2].startswith(f"{key[2]}-pod")]:
            del self.objects[pod]

    def _settle(self, key: Key) -> None:
        """What the controllers of a cluster do to a Deployment: its pods, and its status."""
        found = self.objects[key]
        if key[0] != "deployments":
            return
        wanted = found["spec"].setdefault("replicas", 1)
        template, generation = found["spec"]["template"], found["metadata"]["generation"]
        is_bad = bool({"image", "never"} & self.ails) and template["metadata"]["annotations"][DIGEST] in (
            self.endpoint_of
        )
        if not is_bad:
            self._remove_pods(key)
        for number in range(wanted):
            name = f"{key[2]}-pod{number}{'-bad' if is_bad else ''}"
            self.add(
                "pods", key[1], name, metadata=copy.deepcopy(template["metadata"]), status=self._pod(is_bad)
            )
        ready = 0 if is_bad else wanted
        stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        found["status"] = {
            "observedGeneration": generation,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": ready,
            "conditions": [stuck] if is_bad and "image" in self.ails else [],
        }

    def _pod(self, is_bad: bool) -> dict[str, Any]:
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        statuses = (
            [{"name": "fetch", "state": {"waiting": waiting}}] if "image" in self.ails and is_bad else []
        )
        return {
            "conditions": [{"type": "Ready", "status": "False" if is_bad else "True"}],
            "initContainerStatuses": statuses,
        }

    async def _proxy(self, request: web.Request) -> web.Response:
        plural, namespace, name = self._key(request)
        pod = self.objects.get((plural, namespace, name.partition(":")[0]))
        if pod is None:
            return status_of(404, "NotFound", f'pods "{name}" not found')
        endpoint, release = self.endpoint_of.get(pod["metadata"]["annotations"][DIGEST], ("shop", "c-old"))
        if "liar" in self.ails and name.startswith("ops-shop-gateway-pod1"):
            release = "c-0000000000000000"
        return web.json_response({"ready": True, "serves": served_digest({endpoint: release})})


@contextmanager
def serving(cluster: FakeCluster) -> Iterator[FakeCluster]:
    """The server in a thread, on a port that it keeps from the start."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(cluster.app())

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    cluster.url = f"http://127.0.0.1:{port}"
    try:
        yield cluster
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
