"""One small JSON document over HTTPS: keys of an issuer, or a token from its own address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request

from ...core.errors import AskError, NeedsError
from ..timed_http import open_in_time
from .rules import is_safe_url

_TIMEOUT_S = 10
_MAX_BYTES = 1 << 20


def fetch_json(url: str, what: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object at an address and at no other, in ten seconds.

    NeedsError names the host only: an address may hold what is secret.
    """
    host = urlsplit(url).hostname if is_safe_url(url) else None
    if host is None:
        raise AskError(f"invalid address of {what}: expected https.")
    try:
        asked = Request(url, headers=dict(headers or {}))
        with open_in_time(asked, _TIMEOUT_S, use_proxies=True) as reply:
            data = reply.read(_MAX_BYTES + 1)
    except (URLError, HTTPException, OSError, ValueError) as error:
        why = getattr(error, "code", None) or getattr(error, "reason", None) or type(error).__name__
        raise NeedsError(
            f"cannot get {what} from {host} ({why}). Check the network and the address."
        ) from None  # the cause may quote the headers
    if len(data) > _MAX_BYTES:
        raise NeedsError(f"cannot get {what} from {host}: more than {_MAX_BYTES} bytes.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NeedsError(f"cannot get {what} from {host}: it is not a JSON object.")
    return found
