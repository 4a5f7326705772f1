"""Whether Triton servers that somebody else runs can be used, found by asking them; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...core.contract import Finding
from .access import RemoteAccess

if TYPE_CHECKING:
    import httpx

_ASK_S = 5.0
_LEAST = (2, 37)  # the first with the generate extension
_TRIED = "2.51.0"
_EXTENSIONS = ("model_repository", "model_configuration")
_NOBODYS = "opswright-preflight"  # the name of no model
_FIX = "See docs/guide/triton.md."


def server_findings(access: RemoteAccess) -> Iterator[Finding]:
    """What stands in the way of a server, the first only; else what it is, and what is dangerous about it."""
    import httpx

    with httpx.Client(base_url=access.url, timeout=_ASK_S, trust_env=False) as client:
        try:
            if fault := _fault(client, access):
                yield Finding(level="stop", message=f"Triton at {access.url}: {fault}", fix=_FIX)
                return
            version = _asked(client, access, "GET", "/v2")[1]["version"]
            yield Finding(
                level="ok", message=f"Triton {version} at {access.url} takes models (tried: {_TRIED})."
            )
            yield from _dangers(client, access)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            message = f"Triton at {access.url} does not answer: {error or type(error).__name__}."
            yield Finding(level="stop", message=message, fix="Start it, or correct the address.")


def _fault(client: httpx.Client, access: RemoteAccess) -> str | None:
    """Why a server that answers cannot be used."""
    status, found = _asked(client, access, "GET", "/v2")
    if status != 200:
        return f"it refused to say what it is ({status}: {_reason(found)})."
    version = str(found["version"])
    if _number(version) < _LEAST:
        return f"its version is {version}, and 2.37 is the first that can generate over HTTP."
    if lacking := [name for name in _EXTENSIONS if name not in found["extensions"]]:
        return f"it lacks the extensions {', '.join(lacking)}."
    status, found = _asked(client, access, "POST", f"/v2/repository/models/{_NOBODYS}/load", {})
    if status in (401, 403):
        return f"its model repository API refuses the secret ({_reason(found)})."
    if "not allowed" in _reason(found):
        return "it does not load models when it is told to: start it with --model-control-mode=explicit."
    return None


def _dangers(client: httpx.Client, access: RemoteAccess) -> Iterator[Finding]:
    stranger = RemoteAccess(access.url)
    if _asked(client, stranger, "POST", "/v2/repository/index", {})[0] == 200:
        message = f"whoever reaches {access.url} can load models there, which is running code."
        fix = "Start it with --http-restricted-api=model-repository:HEADER=SECRET, and name both in settings."
        yield Finding(level="warn", message=message, fix=fix)
    parts = urlsplit(access.url)
    if access.headers and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        message = f"the secret goes to {access.url} unencrypted: who listens on that network gets it."
        yield Finding(level="warn", message=message, fix="Put TLS before it.")


def _asked(
    client: httpx.Client, access: RemoteAccess, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    reply = client.request(method, path, json=body, headers=dict(access.headers))
    return reply.status_code, json.loads(reply.content or b"{}")


def _reason(found: Any) -> str:
    return str(found.get("error", "")) if isinstance(found, dict) else ""


def _number(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
