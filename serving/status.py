"""How serving stands, and everything that is deployed brought up again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import BackendError
from ..core.workspace import Workspace
from .fleet import GatewayClient, gateway_record, url_of
from .gateway.traffic_log import read
from .releases import endpoint_names, read_state

_POLL_S = 0.05


def start_all(workspace: Workspace) -> dict[str, Any]:
    """Serve everything that is deployed, as after a reboot; the status once each stable release answers.

    Raises BackendError when one cannot, or does not in the time that settings give a server to start.
    """
    fleet = GatewayClient(workspace)
    fleet.start()
    deadline = time.monotonic() + workspace.settings.serving.start_timeout_s
    for name in endpoint_names(workspace):
        stable = read_state(workspace, name).stable
        while stable is not None:
            life = fleet.life(name)
            fault = life.releases.get(stable.id, "")
            if fault is None:
                break
            if fault or time.monotonic() > deadline:
                why = fault or life.server_fault or "it is still being loaded"
                raise BackendError(f"release {stable.id} of endpoint {name} does not answer: {why}")
            time.sleep(_POLL_S)
    return status(workspace)


def status(workspace: Workspace) -> dict[str, Any]:
    """What runs and what is served, as plain JSON; asking never starts anything."""
    record = gateway_record(workspace)
    live: dict[str, Any] = {}
    if record is not None:
        try:
            live = GatewayClient(workspace).state()
        except BackendError as error:
            live = {"fault": str(error)}
    rows = []
    for name in endpoint_names(workspace):
        state = read_state(workspace, name)
        stable, canary, percent = state.routes()
        found = live.get("endpoints", {}).get(name, {}).get("releases", {})
        last = read(workspace, name, last=1)
        rows.append(
            {
                "endpoint": name,
                "stable": stable,
                "canary": canary,
                "canary_percent": percent,
                "previous": [release.id for release in state.previous],
                "answers": stable is not None and found.get(stable, {}).get("answers", False),
                "missing": {one: release.get("missing", {}) for one, release in found.items()},
                "last_request": last[0].time if last else None,
                "last_change": state.changes[-1].model_dump(mode="json") if state.changes else None,
            }
        )
    workers = live.get("workers", [])
    gateway = None
    if record is not None:
        gateway = {"pid": record["pid"], "url": url_of(record), "workers": workers}
    facts = {"gateway": gateway, "server": live.get("server"), "fault": live.get("fault")}
    return {**facts, "endpoints": rows, "alarms": _alarms(live.get("server"), rows, workers)}


def _alarms(
    server: Mapping[str, Any] | None,
    endpoints: Sequence[Mapping[str, Any]],
    workers: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Each worker that hangs or is not there; why no engine server runs; each release that is lacking."""
    fault = (server or {}).get("fault")
    alarms = [
        f"gateway worker {one['worker']} "
        + ("does not run; it is being started" if one["pid"] is None else f"(pid {one['pid']}) hangs")
        for one in workers
        if not one["answers"]
    ]
    return (
        alarms
        + [f"no engine server runs: {fault}"] * bool(fault)
        + [
            f"{row['endpoint']}: release {release} is not served by {replica}: {why or 'it is being loaded'}"
            for row in endpoints
            for release, missing in row["missing"].items()
            for replica, why in missing.items()
        ]
    )
