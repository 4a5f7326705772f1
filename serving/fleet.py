"""Whoever serves a workspace, as rollout sees it: one Protocol, and the gateway process behind it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import BackendError, NeedsError
from ..core.settings.serving import ServingSettings
from ..core.workspace import Workspace
from . import processes
from .probes import Probe
from .server_selection import Choice, choose, serving_folder, triton_home
from .supervisor import MODULE, supervisor_record
from .workers import remove_worker_records, worker_records

SECRET_SETTINGS = frozenset({"auth_token", "preloaded_triton_secret"})
_POLL_S = 0.03
_ASK_S = 60.0
_OTHERS_S = {"GET": 5.0, "POST": 20.0}  # before another worker is asked
_STOP_S = 38.0  # the supervisor ends its gateway within less


@dataclass(frozen=True)
class ServerFacts:
    """The engine server behind the endpoints; `reason` says why it is not Triton when it is not."""

    server: str
    server_version: str
    reason: str = ""


@dataclass(frozen=True)
class EndpointLife:
    """What really is served: the state that traffic follows, and each loaded release (None: it answers)."""

    serial: int = -1
    releases: Mapping[str, str | None] = field(default_factory=dict)  # id to its fault, "" while it loads
    server_fault: str | None = None  # why no engine server runs, while none does
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by release: who lacks it, why


def in_words(missing: Mapping[str, str]) -> str:
    """The replicas that lack a release, and why."""
    return "; ".join(f"{replica}: {why or 'still loading'}" for replica, why in missing.items())


@dataclass(frozen=True)
class ProbeReply:
    """One answer of an endpoint, and who says they gave it."""

    status: int
    release: str
    route: str
    text: str
    latency_ms: float
    rail: str | None = None


class Fleet(Protocol):
    """What serves the endpoints of one workspace."""

    def start(self) -> str:
        """Make sure that it serves; the address users ask."""

    def facts(self) -> ServerFacts:
        """What engines run on; waits for a server that is starting."""

    def life(self, endpoint: str) -> EndpointLife:
        """What of an endpoint is loaded and gets traffic now, whatever is desired."""

    def ask(
        self,
        endpoint: str,
        asked: str | Probe,
        *,
        release: str | None = None,
        session: str = "",
        rails: bool = True,
    ) -> ProbeReply:
        """Ask as a user does, but unlogged; `release`: that one; without `rails`: its bare engine."""


def starts_path(workspace: Workspace) -> Path:
    """Where each gateway notes with which settings it began."""
    return serving_folder(workspace) / "starts.jsonl"


def gateway_record(workspace: Workspace) -> dict[str, Any] | None:
    """The record of the running gateway, that of its first worker which runs; or None."""
    return next(iter(worker_records(workspace)), None)


def url_of(record: Mapping[str, Any]) -> str:
    """The address of a gateway."""
    host = "127.0.0.1" if record["host"] in ("0.0.0.0", "::", "") else record["host"]
    return f"http://[{host}]:{record['port']}" if ":" in host else f"http://{host}:{record['port']}"


def serving_variables(settings: ServingSettings) -> dict[str, str]:
    """How a gateway is told its settings: as variables of its environment, secrets among them."""
    values = settings.model_dump(mode="json", exclude_none=True)
    for name in SECRET_SETTINGS & values.keys():
        values[name] = getattr(settings, name).get_secret_value()
    return {
        f"OPSWRIGHT_SERVING__{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in values.items()
    }


class GatewayClient:
    """The gateway process of a workspace; it outlives the command that starts it."""

    def __init__(self, workspace: Workspace, say: Callable[[str], None] = lambda line: None) -> None:
        self.workspace = workspace
        self._say = say
        self._log = workspace.logs / "gateway.log"
        self._turn = -1  # of the worker that was asked last

    def start(self) -> str:
        """Start the gateway unless it runs; NeedsError when its port is taken or Triton cannot be had."""
        with self.workspace.lock("gateway"):
            self._end_orphans()
            record = gateway_record(self.workspace)
            if record is None and (supervisor := supervisor_record(self.workspace)) is not None:
                record = self._await(
                    int(supervisor["pid"]), lambda: None if supervisor_record(self.workspace) else 1
                )
            if record is None:
                record = self._launch(self.prepare())
        return url_of(record)

    def _end_orphans(self) -> None:
        """End workers that neither a supervisor nor the first worker is left to: nobody loads for them."""
        records = worker_records(self.workspace)
        is_headless = bool(records) and records[0].get("worker", 0) != 0
        if is_headless and supervisor_record(self.workspace) is None:
            processes.end([int(record["pid"]) for record in records], _STOP_S)

    def prepare(self) -> Choice:
        """The server that will run, with Triton installed by now, so that its trouble is told here."""
        choice = choose(self.workspace)
        if self.workspace.settings.serving.preloaded_triton is not None:
            return choice
        if choice.kind == "triton":
            from .triton.environment import PlatformFacts, locate

            locate(triton_home(self.workspace), PlatformFacts.here(), self._say)
        elif choice.kind == "external":
            self._say(f"engines run on Triton, {choice.reason}")
        else:
            self._say(f"serving in-process, not on Triton: {choice.reason}")
        return choice

    def _launch(self, choice: Choice) -> dict[str, Any]:
        settings = self.workspace.settings.serving
        processes.need_port(settings.gateway_port or 0, "the gateway")
        command = [
            sys.executable,
            "-P",
            "-m",
            MODULE,
            "--home",
            str(self.workspace.root),
        ]
        process = processes.spawn(command, self._environment(), self._log)
        try:
            record = self._await(process.pid, process.poll)
        except BackendError:
            processes.end([process.pid], _STOP_S)
            raise
        self._say(f"gateway at {url_of(record)} ({choice.kind})")
        return record

    def _await(self, supervisor: int, ended: Callable[[], int | None]) -> dict[str, Any]:
        """The record of the gateway that a supervisor keeps, once it answers; BackendError when none does."""
        timeout_s = self.workspace.settings.serving.start_timeout_s
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (code := ended()) is not None:
                raise self._failed(f"the gateway ended at once (exit code {code})")
            record = gateway_record(self.workspace)
            if record is not None and record.get("supervisor") == supervisor and _is_healthy(url_of(record)):
                return record
            time.sleep(_POLL_S)
        raise self._failed(f"the gateway did not answer within {timeout_s:.0f} s")

    def _environment(self) -> dict[str, str]:
        """The settings in force as variables: the gateway must not depend on where it is started from."""
        named = serving_variables(self.workspace.settings.serving)
        return {**os.environ, "OPSWRIGHT_HOME": str(self.workspace.root), **named}

    def _failed(self, what: str) -> BackendError | NeedsError:
        lines = self._log.read_text(errors="replace").splitlines()[-4:]
        return BackendError("\n".join([what, *lines]), log=self._log)

    def facts(self) -> ServerFacts:
        """What engines run on, once the server has started."""
        deadline = time.monotonic() + self.workspace.settings.serving.start_timeout_s
        while True:
            server = self.state()["server"]
            if server["version"]:
                return ServerFacts(server["kind"], server["version"], server["reason"])
            if time.monotonic() > deadline:
                raise BackendError(f"the engine server does not start: {server['fault']}", log=self._log)
            time.sleep(_POLL_S)

    def life(self, endpoint: str) -> EndpointLife:
        """What of an endpoint is loaded and gets traffic now, whatever is desired."""
        state = self.state()
        fault = state["server"]["fault"]
        found = state["endpoints"].get(endpoint)
        if found is None:
            return EndpointLife(server_fault=fault)
        releases = {
            name: None if row["answers"] else (row["error"] or "") for name, row in found["releases"].items()
        }
        missing = {name: row["missing"] for name, row in found["releases"].items()}
        return EndpointLife(found["serial"], releases, fault, missing)

    def state(self) -> dict[str, Any]:
        """Everything the gateway says of itself."""
        reply = self._call("GET", "/-/state")
        if reply.status_code != 200:
            raise BackendError(f"the gateway answered {reply.status_code}: {reply.text[:200]}", log=self._log)
        return dict(reply.json())

    def ask(
        self,
        endpoint: str,
        asked: str | Probe,
        *,
        release: str | None = None,
        session: str = "",
        rails: bool = True,
    ) -> ProbeReply:
        """Ask with the control token, so that the request is not logged as traffic."""
        wishes = {"x-opswright-release": release or "", "x-session-id": session}
        wishes["x-opswright-rails"] = "" if rails else "off"
        headers = {name: value for name, value in wishes.items() if value}
        probe = Probe.of(asked)
        body = {"model": endpoint, "messages": list(probe.chat), "max_tokens": probe.max_tokens}
        began = time.perf_counter()
        reply = self._call("POST", "/v1/chat/completions", body, headers)
        took = (time.perf_counter() - began) * 1000
        found = reply.json()
        is_answer = reply.status_code == 200
        return ProbeReply(
            status=reply.status_code,
            release=reply.headers.get("x-opswright-release", ""),
            route=reply.headers.get("x-opswright-route", ""),
            text=found["choices"][0]["message"]["content"] if is_answer else found["error"]["message"],
            latency_ms=took,
            rail=reply.headers.get("x-opswright-rail"),
        )

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask a worker, each in its turn; the next one where that one is gone."""
        import httpx

        records = worker_records(self.workspace)
        if not records:
            raise BackendError("the gateway is not running; `opswright serve` starts it.", log=self._log)
        token = self.workspace.settings.serving.auth_token
        sent = {"x-opswright-control": records[0]["control"], **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token.get_secret_value()}"
        self._turn += 1
        last: httpx.HTTPError | None = None
        for number in range(len(records)):
            record = records[(self._turn + number) % len(records)]
            url = url_of(record) if len(records) == 1 else f"http://127.0.0.1:{record['own_port']}"
            timeout = _ASK_S if number == len(records) - 1 else _OTHERS_S[method]
            try:
                return _client().request(method, url + path, json=body, headers=sent, timeout=timeout)
            except httpx.HTTPError as error:
                last = error
        raise BackendError(f"the gateway does not answer: {last}", log=self._log) from last


def stop_all(workspace: Workspace) -> list[str]:
    """End every serving process of a workspace and what it left; what was ended, in words."""
    from .triton.runtime import TritonRuntime

    stopped = []
    with workspace.lock("gateway"):
        home = f"--home\0{workspace.root}\0"
        supervisors = processes.with_argument(f"\0{MODULE}\0", home)
        gateways = set(processes.with_argument("\0opswright.serving.gateway\0", home))
        gateways |= {int(record["pid"]) for record in worker_records(workspace)}
        for pid in sorted(gateways):
            stopped.append(f"gateway (pid {pid})")
        runtime = TritonRuntime(serving_folder(workspace) / "triton", workspace.logs / "triton.log")
        stopped += [f"triton (pid {pid})" for pid in runtime.left_over()]
        processes.end(supervisors, _STOP_S)  # it ends its gateway, and that its server
        processes.end(gateways, _STOP_S)
        runtime.clear()
        remove_worker_records(workspace)
    return stopped


def _is_healthy(url: str) -> bool:
    import httpx

    try:
        return bool(_client().get(f"{url}/healthz", timeout=5).status_code == 200)
    except httpx.HTTPError:
        return False


@cache
def _client() -> Any:
    """One client for this process: its connections are kept, proxies of the environment are ignored."""
    import httpx

    return httpx.Client(trust_env=False)
