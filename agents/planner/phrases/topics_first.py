"""What a message is about, said before a colon: "raw/mails.jsonl: drop near duplicates", "desk: v2, 5 %"."""

from __future__ import annotations

from collections.abc import Collection

from ....core.artifact_refs import BundleRef
from .mentions import is_release
from .text import Token
from .words import ARTICLES

_THINGS = ("path", "ref")
_BESIDE = ARTICLES | frozenset(
    ["endpoint", "suite", "file", "folder", "on", "for", "at", "in", "now", "right"]
)
_MOST = 4  # tokens of what stands before the colon


def topic_behind(tokens: list[Token], names: Collection[str], endpoints: Collection[str]) -> list[Token]:
    """The tokens with the one thing that stands before a colon, and nothing else does, where it is meant.

    names: of suites, endpoints and files; endpoints: of those, the endpoints.
    """
    colon = next((at for at, token in enumerate(tokens[: _MOST + 1]) if token.key == ":"), 0)
    lead, rest = tokens[:colon], tokens[colon + 1 :]
    things = [one for one in lead if one.kind in _THINGS or one.key in names]
    plain = all(one in things or one.key in _BESIDE for one in lead)
    tells = bool(rest) and rest[0].key.endswith("ing")  # "shop: promoting the canary"
    if len(things) != 1 or not plain or not rest or tells or any(token.key == ":" for token in rest):
        return tokens
    end = next((at for at, token in enumerate(rest) if token.kind == "end"), len(rest))
    thing = things[0]
    if thing.key not in endpoints:
        return [*rest[:end], Token(",", "mark", ","), thing, *rest[end:]]
    is_served = is_release(rest[0]) or rest[0].text.lower().startswith(f"{BundleRef.kind}:")
    if is_served:
        return [rest[0], Token("to", "word", "to"), thing, *rest[1:]]
    comma = next((at for at in range(end) if rest[at].key == ","), end)
    return [*rest[:comma], Token("on", "word", "on"), thing, *rest[comma:]]
