"""Which release answers a request: a sticky split by session between stable and canary."""

from __future__ import annotations

import hashlib

from ..releases import EndpointState, Release
from .traffic_log import Route

_BUCKETS = 10_000


def choose(state: EndpointState, key: str) -> tuple[Release, Route] | None:
    """The release for a session key and its route; None when the endpoint has no release with traffic.

    The same key gets the same release as long as the canary is the same; raising the percentage only adds
    sessions to it, and each canary meets another sample of sessions.
    """
    if state.canary is not None and bucket(state.canary.id, key) < state.canary_percent * _BUCKETS // 100:
        return state.canary, "canary"
    if state.stable is not None:
        return state.stable, "stable"
    return None


def bucket(salt: str, key: str) -> int:
    """A number in [0, 10000), uniform over keys, that is the same on every machine."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS
