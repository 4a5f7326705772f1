"""Releases and the state of an endpoint: what should be served, and what was served when.

`endpoints/<name>/desired.json` is the one truth, replaced atomically under a lock. Whoever serves makes
itself like it, now and after every restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.artifact_refs import BundleRef, GuardrailRef
from ..core.errors import AskError, HeldError, IntegrityError
from ..core.files import canonical_json, sha256_json, write_atomically
from ..core.workspace import Workspace

ENDPOINT_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
EndpointName = Annotated[str, Field(pattern=ENDPOINT_PATTERN)]  # of skills' requests
ProbeTexts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=2000)], ...], Field(max_length=200)
]
StateFingerprint = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-f]{12})?$",
        description="State of the endpoint that this is for, filled in when it is planned: once somebody "
        "else has changed it, nothing is done. Empty: any.",
    ),
]
Route = Literal["stable", "canary", "withdrawn"]
_LOCK_S = 300.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Release(_Frozen):
    """A bundle with its guardrail config, numbered within its endpoint."""

    id: str
    number: int = Field(ge=1)
    bundle: BundleRef
    guardrails: GuardrailRef | None = None
    engine: str = ""
    made: str

    def is_same_as(self, bundle: BundleRef, guardrails: GuardrailRef | None) -> bool:
        """Whether it serves exactly this."""
        return self.bundle == bundle and self.guardrails == guardrails


class CanaryLimits(_Frozen):
    """What a canary is watched by; shares are 0 to 1."""

    max_error_share: float = Field(0.01, ge=0, le=1)
    max_slower: float = Field(1.5, ge=1)
    max_disagreement: float = Field(0.3, gt=0, le=1)
    alpha: float = Field(0.05, gt=0, lt=1)


class Change(_Frozen):
    """One change of what an endpoint serves, as it was finished; `key` makes a repeated call find it."""

    at: str
    what: Literal["deployed", "canary", "promoted", "rolled back", "withdrawn", "refused"]
    release: str
    key: str = ""
    stable: str | None = None
    canary: str | None = None
    canary_percent: int = 0
    shadow_percent: int = 0
    message: str = ""


class EndpointState(_Frozen):
    """What an endpoint should serve. `candidate` is loaded and examined; it gets no traffic."""

    endpoint: str
    serial: int = 0
    stable: Release | None = None
    canary: Release | None = None
    canary_percent: int = Field(0, ge=0, le=99)
    shadow_percent: int = Field(0, ge=0, le=100)  # of stable's requests, asked of the canary too
    limits: CanaryLimits | None = None  # of the canary; None: nobody watches it
    candidate: Release | None = None
    previous: tuple[Release, ...] = ()
    last_number: int = 0
    changes: tuple[Change, ...] = ()
    known: tuple[Release, ...] = ()  # every release that a change names, for who asks later

    @property
    def releases(self) -> tuple[Release, ...]:
        """Every release that must be loaded."""
        return tuple(r for r in (self.stable, self.canary, self.candidate) if r is not None)

    def release(self, release_id: str | None) -> Release | None:
        """The release of that id, serving or not; None when this state never held it."""
        held = (*self.known, *self.releases, *self.previous)
        return next((release for release in held if release.id == release_id), None)

    def finished(self, key: str) -> Change | None:
        """The change that an earlier call with this idempotency key finished, if any."""
        return next((c for c in reversed(self.changes) if key and c.key == key), None)

    def routes(self) -> tuple[str | None, str | None, int]:
        """Who gets traffic: stable id, canary id, percent of the canary."""
        stable = self.stable.id if self.stable else None
        return stable, self.canary.id if self.canary else None, self.canary_percent

    def route_of(self, release: str) -> Route:
        """What a release is by now: what users get, the canary, or neither."""
        stable, canary, _ = self.routes()
        return "stable" if release == stable else "canary" if release == canary else "withdrawn"

    @property
    def fingerprint(self) -> str:
        """12 hex digits that tell what users get, and would by a rollback, from any other such state."""
        return sha256_json([*self.routes(), [release.id for release in self.previous]])[:12]

    def changed(self, what: str, release: Release, key: str, message: str = "") -> EndpointState:
        """The same state with the change that led to it written down."""
        stable, canary, percent = self.routes()
        change = Change.model_validate(
            {
                "at": now(),
                "what": what,
                "release": release.id,
                "key": key,
                "stable": stable,
                "canary": canary,
                "canary_percent": percent,
                "shadow_percent": self.shadow_percent,
                "message": message,
            }
        )
        known = {one.id: one for one in (*self.known, *self.previous, *self.releases, release)}
        by_number = tuple(sorted(known.values(), key=lambda one: one.number))
        return self.model_copy(update={"changes": (*self.changes, change), "known": by_number})


def now() -> str:
    """UTC time with milliseconds, ISO 8601; its text order is its time order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_release(
    state: EndpointState, bundle: BundleRef, guardrails: GuardrailRef | None, engine: str
) -> Release:
    """The next release of an endpoint."""
    number = state.last_number + 1
    digest = sha256_json([state.endpoint, number, bundle, guardrails])
    return Release(
        id=f"v{number}-{digest[:8]}",
        number=number,
        bundle=bundle,
        guardrails=guardrails,
        engine=engine,
        made=now(),
    )


def served_digest(releases: Mapping[str, str]) -> str:
    """A digest of the release that each endpoint answers with: it tells only who knows what to expect."""
    return sha256_json(dict(releases))


def check_name(endpoint: str) -> str:
    """An endpoint's name, or AskError: it is a folder, a model name in requests and part of Triton's."""
    if not re.fullmatch(ENDPOINT_PATTERN, endpoint):
        raise AskError(
            f"invalid endpoint name '{endpoint[:60]}': expected lower-case letters, digits and inner "
            "hyphens, at most 40 characters."
        )
    return endpoint


def desired_path(workspace: Workspace, endpoint: str) -> Path:
    """Where an endpoint's desired state lies."""
    return workspace.endpoints / check_name(endpoint) / "desired.json"


def read_state(workspace: Workspace, endpoint: str) -> EndpointState:
    """The endpoint's state; an empty one when there is none. IntegrityError when the file is not one."""
    path = desired_path(workspace, endpoint)
    try:
        state = EndpointState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return EndpointState(endpoint=endpoint)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read ({error.strerror}). Restore it.") from error
    except ValidationError as error:
        raise IntegrityError(
            f"{path} is not the state of an endpoint ({error.error_count()} faults, first: "
            f"{error.errors()[0]['msg']}). Restore it, or remove it and deploy again."
        ) from error
    if state.endpoint != endpoint:
        raise IntegrityError(
            f"{path} is the state of endpoint {state.endpoint[:60]}, not of {endpoint}: a copied folder? "
            "Remove it."
        )
    return state


def write_state(workspace: Workspace, state: EndpointState) -> EndpointState:
    """Replace the endpoint's state by this one with the next serial number; on disk when this returns."""
    state = state.model_copy(update={"serial": state.serial + 1})
    path = desired_path(workspace, state.endpoint)
    write_atomically(path, canonical_json(state.model_dump(mode="json")))
    return state


def endpoint_names(workspace: Workspace) -> list[str]:
    """Every endpoint that has a state; a folder of another name, such as a copy of one, is none."""
    found = (path.parent.name for path in workspace.endpoints.glob("*/desired.json"))
    return sorted(name for name in found if re.fullmatch(ENDPOINT_PATTERN, name))


def is_endpoint_name(name: str) -> bool:
    """Whether an endpoint can have this name."""
    return re.fullmatch(ENDPOINT_PATTERN, name) is not None


def stable_release(workspace: Workspace, endpoint: str) -> Release | None:
    """The release that an endpoint's users get, if there is one."""
    return read_state(workspace, endpoint).stable


@contextmanager
def changing(workspace: Workspace, endpoint: str) -> Iterator[None]:
    """Be the only one, over all processes, to change an endpoint; HeldError when another does not finish."""
    from filelock import Timeout

    try:
        with workspace.lock(f"endpoint-{check_name(endpoint)}", timeout_s=_LOCK_S):
            yield
    except Timeout as error:
        raise HeldError(
            f"another process has been changing endpoint {endpoint} for {_LOCK_S:.0f} s. Wait, or end it."
        ) from error
