"""What changes of an endpoint led to."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.gate import Check, Decision, Verdict
from ..fleet import ServerFacts
from ..releases import Change, EndpointState, Release, Route


@dataclass(frozen=True)
class Outcome:
    """What a call led to: the release that its users get, or that became the canary, and by which route."""

    state: EndpointState
    release: Release
    route: str
    url: str
    facts: ServerFacts
    is_repeated: bool = False
    withdrawn: str = ""  # the release that users no longer get
    blocked: int = 0  # probes that a rail answered


@dataclass(frozen=True)
class Promotion:
    """What the judgement of a canary led to: it is stable, withdrawn, or still a canary."""

    canary: str
    verdict: Verdict
    now: Route
    stable: str  # what users get
    url: str


def why_gone(state: EndpointState) -> str:
    """That the last canary was withdrawn, and why, where that was the last thing that happened."""
    last = state.changes[-1] if state.changes else None
    if last is None or last.what != "withdrawn":
        return ""
    return f": {last.release} was withdrawn at {last.at}" + (f" ({last.message})" if last.message else "")


def verdict_again(change: Change) -> Verdict:
    """What a finished promotion decided, from its record."""
    decision = Decision.GO if change.what == "promoted" else Decision.NO_GO
    row = Check(
        name="recorded", decision=decision, message=f"carried out at {change.at}. {change.message}".strip()
    )
    return Verdict.of([row])
