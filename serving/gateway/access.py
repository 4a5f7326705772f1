"""Who may ask the gateway what: decided before a request is read."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from ...core.errors import OpswrightError
from ..keys.allowance import Allowance
from ..keys.shared_store import SharedStore
from ..keys.store import ApiKey, KeyLookup
from ..keys.usage import KeyUsage
from .openai_api import error_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PROBES = frozenset({"/healthz", "/readyz"})  # Kubernetes asks them without a key, under the pod's address
_METRICS = "/metrics"
_CONTROL = "x-opswright-control"
_STATE = "opswright_pass"
_HEADERS = "opswright_headers"


@dataclass(frozen=True)
class Access:
    """Who may ask: the token for control, the one for everybody, keys, and the hosts it is asked under.

    Without a token and without keys whoever reaches the gateway under a local name may ask.
    """

    control: str
    token: str | None = None
    hosts: frozenset[str] = field(default=LOCAL_HOSTS)
    keys: KeyLookup | None = None
    usage: KeyUsage | None = None
    store: SharedStore | None = None  # that keys and usage are of, where gateways share one

    @property
    def needs_credentials(self) -> bool:
        """Whether a request must say who asks."""
        return self.token is not None or (self.keys is not None and self.keys.exists)


@dataclass(frozen=True)
class Pass:
    """Who asks, as it was found: by the workspace's control token, a key, the token, or by being local.

    is_known: whether it may see more than whether the gateway is ready.
    """

    is_control: bool = False
    is_known: bool = True
    key: ApiKey | None = None


class AccessMiddleware:
    """Turns away web pages of other sites, and who may not ask, before anything is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401, 403 or 503."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        found = self._judge(scope)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope.setdefault("state", {})[_STATE] = found
        await self.app(scope, receive, send)

    def _judge(self, scope: Scope) -> Pass | Response:
        headers = headers_of(scope)
        if _CONTROL in headers and _same(headers[_CONTROL], self.access.control):
            return Pass(is_control=True)
        is_probe = scope["path"] in _PROBES
        if not self.access.needs_credentials:
            refused = self._refuse_foreign(headers)
            return Pass(is_known=False) if refused and is_probe else refused or Pass()
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if self.access.token is not None and _same(given, self.access.token):
            return Pass()
        found = self._key_of(given)
        if isinstance(found, ApiKey):
            return _scoped(found, scope["path"])
        return Pass(is_known=False) if is_probe else found

    def _refuse_foreign(self, headers: Mapping[str, str]) -> Response | None:
        """403 for a page of another site: it may reach this address by a name of its own (DNS rebinding)."""
        named = [headers.get("host", "")]
        named += [headers["origin"].partition("://")[2]] if "origin" in headers else []
        if all((name.rpartition(":")[0] or name) in self.access.hosts for name in named):
            return None
        message = (
            "this gateway answers to local names only; `opswright keys create NAME`, or "
            "OPSWRIGHT_SERVING__AUTH_TOKEN, lets others ask"
        )
        return _refusal(message, "wrong_host", 403)

    def _key_of(self, given: str) -> ApiKey | Response:
        """The valid key of a text; else the answer to who has none."""
        keys = self.access.keys
        try:
            key = keys.find(given) if keys is not None and keys.exists else None
        except OpswrightError as error:
            log.error("nobody is let in: %s", error)
            return _refusal("keys cannot be checked now; the gateway's log says why", "unavailable", 503)
        return key or _refusal("a valid API key is needed, as a bearer token", "invalid_api_key", 401)


def _scoped(key: ApiKey, path: str) -> Pass | Response:
    """A pass for what a key is for; probes are for everybody."""
    needed = "metrics" if path == _METRICS else "ask"
    if path in _PROBES or needed in key.scopes:
        return Pass(key=key)
    return _refusal(f"key {key.name} has not the scope '{needed}'", "scope_missing", 403)


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers by their names, which are in small letters; of several the last."""
    state = scope.setdefault("state", {})
    if _HEADERS not in state:
        state[_HEADERS] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
    found: dict[str, str] = state[_HEADERS]
    return found


def pass_of(scope: Scope) -> Pass:
    """Who asks, as the middleware found."""
    found: Pass = scope["state"][_STATE]
    return found


def allowance_of(scope: Scope, access: Access) -> Allowance:
    """What a request may do by its key."""
    return Allowance(pass_of(scope).key, access.usage)


def _same(given: str, wanted: str) -> bool:
    """Whether two secrets are the same, compared in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _refusal(message: str, code: str, status: int) -> Response:
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(status)
    return JSONResponse(error_body(message, "auth", code), status, headers)
