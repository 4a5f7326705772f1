"""What an endpoint served at a moment, from the changes its state keeps and the requests it answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..core.errors import AskError
from ..core.workspace import Workspace
from .fleet import starts_path
from .gateway.traffic_log import as_logged, last_before
from .releases import Change, EndpointState, Release, endpoint_names, now, read_state


@dataclass(frozen=True)
class LiveRelease:
    """A release that got traffic; digests are empty when the endpoint no longer knows them."""

    release: str
    route: Literal["stable", "canary"]
    percent: int
    bundle: str
    guardrails: str
    engine: str


@dataclass(frozen=True)
class Live:
    """What an endpoint served at a moment, by which change, and the last request it had answered by then."""

    endpoint: str
    at: str
    releases: tuple[LiveRelease, ...]
    since: str
    change: str  # what was done then, such as "promoted v2-1a2b3c4d"
    key: str  # idempotency key of the step that did it
    last_request: str | None
    last_release: str | None
    shadow_percent: int = 0  # of stable's requests, asked of the canary too
    gateway: Mapping[str, Any] | None = None  # since when, version and settings; None: not noted

    @property
    def stable(self) -> str | None:
        """The stable release's id; None when it served none."""
        return next((one.release for one in self.releases if one.route == "stable"), None)

    @property
    def canary(self) -> str | None:
        """The canary's id; None without one."""
        return next((one.release for one in self.releases if one.route == "canary"), None)

    @property
    def canary_percent(self) -> int:
        """The canary's share of sessions; 0 without one."""
        return next((one.percent for one in self.releases if one.route == "canary"), 0)

    def document(self) -> dict[str, Any]:
        """Every field as plain JSON, for `--json`."""
        return asdict(self)


def live_at(workspace: Workspace, time: str | None = None, endpoint: str | None = None) -> list[Live]:
    """What each endpoint served at a UTC time, ISO 8601 (None: now); one that served nothing is left out.

    A change counts from the moment it was asked of the gateway, once it was seen to be served. AskError for
    what is no time, for one to come, and for an endpoint there is not.
    """
    at = as_logged(time) or now()
    if at > now():
        raise AskError(f"{time} is still to come (it is {now()}, UTC). Ask for a time that has passed.")
    names = endpoint_names(workspace)
    if endpoint is not None and endpoint not in names:
        has = f"it has: {', '.join(names)}" if names else "it has none yet"
        raise AskError(f"endpoint '{endpoint[:60]}' does not exist in this workspace ({has}).")
    found = (_live(workspace, read_state(workspace, name), at) for name in names if endpoint in (None, name))
    return [live for live in found if live is not None]


def _live(workspace: Workspace, state: EndpointState, at: str) -> Live | None:
    change = next((one for one in reversed(state.changes) if one.at <= at), None)
    if change is None or change.stable is None:
        return None
    last = last_before(workspace, state.endpoint, at)
    return Live(
        endpoint=state.endpoint,
        at=at,
        releases=_releases(state, change),
        since=change.at,
        change=f"{change.what} {change.release}",
        key=change.key.partition("/")[0],  # of the step, whichever of its changes it was
        last_request=last.time if last else None,
        last_release=last.release if last else None,
        shadow_percent=change.shadow_percent,
        gateway=_gateway_at(workspace, at),
    )


def _gateway_at(workspace: Workspace, at: str) -> Mapping[str, Any] | None:
    """How the gateway was set that had begun last by then; a line that was cut tells nothing."""
    found = None
    try:
        lines = starts_path(workspace).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        try:
            start = json.loads(line)
        except ValueError:
            continue
        if isinstance(start, dict) and str(start.get("at", "")) <= at:
            found = start
    return found


def _releases(state: EndpointState, change: Change) -> tuple[LiveRelease, ...]:
    made = []
    for route, release_id, percent in (
        ("stable", change.stable, 100 - change.canary_percent),
        ("canary", change.canary, change.canary_percent),
    ):
        if release_id is not None:
            made.append(_named(release_id, route, percent, state.release(release_id)))
    return tuple(made)


def _named(release_id: str, route: Any, percent: int, known: Release | None) -> LiveRelease:
    if known is None:
        return LiveRelease(release_id, route, percent, "", "", "")
    return LiveRelease(release_id, route, percent, known.bundle, known.guardrails or "", known.engine)
