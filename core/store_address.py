"""Addresses of a Redis or Valkey server, which hold no password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def store_address(url: str) -> str:
    """The address; ValueError for what is none, or holds a password."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("an address holds no password: name it by `password`")
    has_place = bool(parts.path) if parts.scheme == "unix" else bool(parts.hostname)
    has_place = has_place and not re.search(r"\s", url) and parts.port != 0  # ValueError above 65535
    if parts.scheme not in ("redis", "rediss", "unix") or not has_place or parts.query or parts.fragment:
        raise ValueError("expected redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
    return url
