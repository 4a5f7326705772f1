"""What an endpoint says it is: asked, recorded in its own words, never guessed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError

if TYPE_CHECKING:
    import aiohttp

_ASK_S = 10.0
_LONGEST_ID = 500
_MOST_BYTES = 1 << 20
_FIXES_LENGTH = ("vllm", "sglang")  # servers whose chat completions take `ignore_eos`
# What is kept of each reply. SGLang's server_info holds all of its settings, its key among them.
_KEPT = {
    "/version": ("version",),
    "/get_model_info": ("model_path", "tokenizer_path", "weight_version"),
    "/get_server_info": ("version", "model_path", "dtype", "quantization", "tp_size", "context_length"),
}
_SERVED_WITH = ("/get_model_info", "/get_server_info")


@dataclass(frozen=True)
class ServerIdentity:
    """A server by its own words: owned_by and max_model_len of `/v1/models`, and what its own routes say.

    owned_by: `vllm`, `sglang`, `opswright`, or whatever it says; empty when it says nothing.
    """

    model: str
    owned_by: str = ""
    max_model_len: int | None = None
    release: str = ""
    said: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Its version, where a route told one."""
        return next((str(one["version"]) for one in self.said.values() if one.get("version")), "")

    @property
    def fixes_length(self) -> bool:
        """Whether it is of a kind that goes on after the end token when it is told to."""
        return self.owned_by in _FIXES_LENGTH

    @property
    def name(self) -> str:
        """The server in a word or two."""
        return f"{self.owned_by or 'unnamed server'} {self.version or self.release}".rstrip()

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


async def identify(
    session: aiohttp.ClientSession, url: str, model: str | None, key: str | None = None
) -> ServerIdentity:
    """Ask `/v1/models`, and of the servers that have them `GET /version` and SGLang's two routes.

    model: which of its models; None: the first. key: what no reply may repeat, be it cut. BackendError when
    it cannot be reached, lists no model, or one whose name nobody would type.
    """
    listed = await _json(session, f"{url}/models", key, is_needed=model is None)
    rows = listed.get("data") if isinstance(listed, dict) else None
    rows = [row for row in rows or () if isinstance(row, dict) and row.get("id")]
    if not rows and model is None:
        raise BackendError(f"{url}/models lists no model. Give endpoint_model.")
    if model is None and len(str(rows[0]["id"])) > _LONGEST_ID:
        raise BackendError(
            f"{url}/models lists a model of {len(str(rows[0]['id'])):,} characters: give endpoint_model."
        )
    row = next((one for one in rows if one["id"] == model), None if model else rows[0]) or {}
    owner, longest = str(row.get("owned_by") or ""), row.get("max_model_len")
    root = url.removesuffix("/v1")
    routes = {"vllm": ("/version",), "sglang": _SERVED_WITH}.get(owner, ())
    replies = await asyncio.gather(
        *(_json(session, f"{root}{route}", key, is_needed=False) for route in routes)
    )
    said = {route: _kept(route, reply) for route, reply in zip(routes, replies, strict=True)}
    return ServerIdentity(
        model=str(model or row["id"]),
        owned_by=owner[:60],
        max_model_len=longest if isinstance(longest, int) else None,
        release=str(row.get("release") or "")[:80],
        said={route: kept for route, kept in said.items() if kept},
    )


def _kept(route: str, reply: Any) -> dict[str, Any]:
    found = reply if isinstance(reply, dict) else {}
    return {
        name: found[name] if isinstance(found[name], int | float) else str(found[name])[:200]
        for name in _KEPT[route]
        if found.get(name) is not None
    }


def _without(key: str | None, found: Any) -> Any:
    """A document in which no text, and no name, has the key."""
    if isinstance(found, str):
        return found.replace(key, "***") if key else found
    if isinstance(found, dict):
        return {_without(key, name): _without(key, value) for name, value in found.items()}
    return [_without(key, one) for one in found] if isinstance(found, list) else found


async def _json(session: aiohttp.ClientSession, url: str, key: str | None, *, is_needed: bool) -> Any:
    """What a route answers, without the key; None where it has none and none is needed, else BackendError."""
    import aiohttp

    try:
        async with asyncio.timeout(_ASK_S), session.get(url, allow_redirects=False) as reply:
            data = bytearray()
            async for piece in reply.content.iter_any():
                data += piece
                if len(data) > _MOST_BYTES:
                    raise ValueError(f"more than {_MOST_BYTES:,} bytes")
            if reply.status == 200:
                return _without(key, json.loads(data))
            problem = f"HTTP {reply.status}"
    except aiohttp.ClientConnectorError as error:
        raise BackendError(
            f"cannot reach the endpoint ({url}: {error}). Start it, or check the address."
        ) from error
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    if is_needed:
        raise BackendError(f"{url} says: {problem}. Check the address and the key, or give endpoint_model.")
    return None
