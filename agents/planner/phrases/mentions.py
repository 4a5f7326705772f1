"""Artifacts as people point at them: "the last checkpoint", "it", "stable", "yesterday's report", "v2"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ....core.artifact_refs import REF_TYPES, ArtifactRef
from .amounts import number_of
from .surroundings import Surroundings
from .text import Token, key_of_word, words

_RELEASE = re.compile(r"v\d{1,6}(?:[0-9a-f]{8})?")
_ROUTES = words("stable canary live production prod")
_NEWEST = words("last latest newest recent")
_ADJECTIVES = _NEWEST | words(
    "most previous prior older earlier first oldest earliest best current new fresh stable canary live"
    " production prod yesterday today"
)
_ARTICLES = words("the my our this that these those your its a an")
_ANOTHER = words("a an another")
_NOW = words("the a now currently right our in")
_PRONOUNS = words("it this that them those")


def is_release(token: Token) -> bool:
    """Whether a token names a release: "v2"."""
    return token.is_word and _RELEASE.fullmatch(token.key) is not None


@dataclass(frozen=True)
class Mention:
    """One way of pointing at an artifact, and the tokens it stands in. kinds: empty for any."""

    start: int
    end: int
    kinds: tuple[str, ...] = ()
    which: str = "the"  # the, last, previous, older, first, best, stable, canary, days, it, release, ref
    name: str = ""  # of the release, the reference, or how many days ago
    endpoint: str | None = None


def mentions_in(
    tokens: list[Token],
    taken: set[int],
    around: Surroundings,
    in_slot: Callable[[int], bool] = lambda at: True,
) -> list[Mention]:
    """Every mention, from left to right; `in_slot`: whether one may stand at a place without its noun."""
    found: list[Mention] = []
    at = 0
    while at < len(tokens):
        mention = None if at in taken else _mention_at(tokens, at, taken, around, in_slot)
        if mention is None:
            at += 1
            continue
        linked = tokens[mention.end : mention.end + 1] and tokens[mention.end].key in ("is", ":")
        end = mention.end + bool(linked)
        if _names_ref(tokens, mention, end):
            behind = tokens[end].text
            kind = behind.partition(":")[0].lower()
            mention = Mention(mention.start, end + 1, (kind,), "ref", behind)
        found.append(mention)
        at = mention.end
    return found


def _names_ref(tokens: list[Token], mention: Mention, end: int) -> bool:
    """Whether it only says of which kind the reference behind it is: "alarm drift-report:1f..."."""
    behind = tokens[end] if end < len(tokens) else None
    return (
        mention.which in ("the", "previous", "last", "first")
        and behind is not None
        and behind.kind == "ref"
        and behind.text.partition(":")[0].lower() in mention.kinds
    )


def _mention_at(
    tokens: list[Token], at: int, taken: set[int], around: Surroundings, in_slot: Callable[[int], bool]
) -> Mention | None:
    token = tokens[at]
    if token.kind == "ref":
        return Mention(at, at + 1, (token.text.partition(":")[0].lower(),), "ref", token.text)
    if not token.is_word:
        return None
    if is_release(token):
        endpoint, end = _endpoint_after(tokens, at + 1, around)
        return Mention(at, end, (), "release", token.text.lower(), endpoint)
    return _noun_phrase(tokens, at, taken, around, in_slot)


def _noun_phrase(
    tokens: list[Token], at: int, taken: set[int], around: Surroundings, in_slot: Callable[[int], bool]
) -> Mention | None:
    place, adjectives = at, []
    while place < len(tokens) and place not in taken and tokens[place].key in _ARTICLES | _ADJECTIVES:
        if tokens[place].key in _ADJECTIVES:
            adjectives.append(tokens[place].key)
        place += 1
    length, kinds = _noun(tokens, place, taken)
    if length == 0 and place < len(tokens) and tokens[place].key in around.endpoints and adjectives:
        inner, kinds = _noun(tokens, place + 1, taken)  # "the stable shop model"
        if inner:
            which = _which(adjectives)
            return Mention(at, place + 1 + inner, kinds, which, endpoint=around.endpoints[tokens[place].key])
    if (
        length == 0
        and (adjectives or _that_is(tokens, place + 1, around) is not None)
        and place < len(tokens)
        and tokens[place].key in ("one", "release", "version")
    ):
        length = 1
    if length == 1 and not kinds and at and tokens[at - 1].key in ("every", "each", "per"):
        return None  # "two old rows for every new one"
    if length == 0 and not adjectives:
        is_pronoun = tokens[at].key in _PRONOUNS and at not in taken
        return Mention(at, at + 1, (), "it") if is_pronoun else None
    if length == 0 and (not set(adjectives) & _ROUTES or not in_slot(at)):
        return None  # "with a canary" points at nothing
    which = _which(adjectives)
    if length and (that := _that_is(tokens, place + length, around)) is not None:
        which, endpoint, end = that
        return Mention(at, end, kinds, which, endpoint=endpoint)
    if tokens[at].key in _ANOTHER and set(adjectives) & {"new", "fresh"}:
        which = "new"
    if is_older(tokens, place + length):
        return Mention(at, place + length + 2, kinds, "older")
    end, days = _when_after(tokens, place + length)
    if which in _DAYS or days is not None:
        days = _DAYS[which] if days is None else days
        return Mention(at, end, kinds, "days", str(days))
    endpoint, end = _endpoint_after(tokens, end, around) if which in ("stable", "canary") else (None, end)
    return Mention(at, end, kinds, which, endpoint=endpoint)


def _that_is(tokens: list[Token], at: int, around: Surroundings) -> tuple[str, str | None, int] | None:
    """What a noun is said to be: "the engine that is the canary on shop"; with where that ends."""
    keys = [token.key for token in tokens[at : at + 6]]
    if len(keys) < 3 or keys[0] not in ("that", "which") or keys[1] != "is":
        return None
    place = 2
    while keys[place : place + 1] and keys[place] in _NOW:
        place += 1
    if keys[place : place + 1] == [] or keys[place] not in _ROUTES | {"serving"}:
        return None
    which = "canary" if keys[place] == "canary" else "stable"
    place += 1 + (keys[place + 1 : place + 2] in (["release"], ["version"], ["one"]))
    endpoint, end = _endpoint_after(tokens, at + place, around)
    return which, endpoint, end


def is_older(tokens: list[Token], at: int) -> bool:
    """Whether "before that" stands here, which says of a noun that it is older than what was spoken of."""
    keys = [token.key for token in tokens[at : at + 3]]
    return keys[:2] in (["before", "that"], ["before", "it"], ["before", "this"]) and (
        len(keys) == 2 or not tokens[at + 2].is_word or keys[2] in ("on", "to", "with", "too", "and", "then")
    )


def _noun(tokens: list[Token], at: int, taken: set[int]) -> tuple[int, tuple[str, ...]]:
    """How many words name a kind of artifact here, and which kinds they may mean."""
    said = _said_of_kinds(tuple(REF_TYPES.values()))
    for length in range(max(map(len, said)), 0, -1):
        keys = tuple(token.key for token in tokens[at : at + length])
        if len(keys) < length or any(place in taken for place in range(at, at + length)):
            continue
        kinds = {**said.get(keys, {}), **said.get((*keys[:-1], keys[-1].removesuffix("s")), {})}
        if kinds:
            return length, tuple(kind for kind in REF_TYPES if kind in kinds)
    return 0, ()


@cache
def _said_of_kinds(every: tuple[type[ArtifactRef], ...]) -> dict[tuple[str, ...], dict[str, None]]:
    """The words that name kinds of artifacts, and which: looked up at every word of a message."""
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for ref in every:
        for said in (ref.kind.replace("-", " "), ref.kind, *ref.spoken):
            words = tuple(key_of_word(word) for word in said.split())
            found.setdefault(words, {})[ref.kind] = None
    return found


_SAME = {
    "prior": "previous",
    "older": "previous",
    "earlier": "previous",
    "oldest": "first",
    "earliest": "first",
}
_DAYS = {"today": 0, "yesterday": 1}


def _which(adjectives: list[str]) -> str:
    for word in adjectives:
        if word in ("stable", "live", "production", "prod"):
            return "stable"
        if word in ("canary", "yesterday", "today", "previous", "first", "best"):
            return word
        if word in _SAME:
            return _SAME[word]
    return "last" if set(adjectives) & (_NEWEST | {"new", "fresh", "current"}) else "the"


def _when_after(tokens: list[Token], at: int) -> tuple[int, int | None]:
    """How many days ago, behind a noun: "the report from yesterday", "the checkpoint of three days ago"."""
    start = at + 1 if at < len(tokens) and tokens[at].key in ("from", "of") else at
    keys = [token.key for token in tokens[start : start + 3]]
    if keys and keys[0] in _DAYS and (start > at or keys[0] != "today"):
        return start + 1, _DAYS[keys[0]]
    if len(keys) == 3 and keys[1] in ("day", "days") and keys[2] == "ago":
        days = number_of(keys[0])
        if days is not None and days == int(days):
            return start + 3, int(days)
    return at, None


def _endpoint_after(tokens: list[Token], at: int, around: Surroundings) -> tuple[str | None, int]:
    """The endpoint behind a release: "stable of shop", "stable on the endpoint shop"."""
    keys = [token.key for token in tokens[at : at + 4]]
    if keys and keys[0] in ("of", "on", "behind", "from", "at"):
        for ahead, key in enumerate(keys[1:], 2):
            if key in around.endpoints:
                return around.endpoints[key], at + ahead
            if key not in ("the", "endpoint", "our"):
                break
    return None, at


@dataclass(frozen=True)
class Unclear:
    """A mention that points at nothing, or at several things: what is asked, and the choices."""

    text: str
    choices: tuple[str, ...] = ()


def resolve(
    mention: Mention,
    accepted: tuple[str, ...],
    around: Surroundings,
    best: Callable[[tuple[str, ...]], ArtifactRef | None],
) -> ArtifactRef | Unclear:
    """The artifact of these kinds that a mention points at in the workspace, or what is unclear about it."""
    if mention.which == "ref":
        ref = around.resolve(mention.name)
        return ref or Unclear(f"{mention.name} names no single artifact here. Which one is meant?")
    if mention.which in ("stable", "canary", "release"):
        return _released(mention, accepted, around)
    kinds = tuple(kind for kind in (mention.kinds or accepted) if kind in accepted) or mention.kinds
    if mention.which == "best":
        found = best(kinds)
        return found or Unclear(f"No {_or(kinds)} was measured yet, so none is best. Which one is meant?")
    if mention.which == "days":
        dated = [ref for kind in kinds for ref in around.made_days_ago(kind, int(mention.name))]
        when = {"0": "today", "1": "yesterday"}.get(mention.name, f"{mention.name} days ago")
        return _single(dated, f"{_or(kinds)} of {when}", newest=len(dated) > 0)
    every = sorted((ref for kind in kinds for ref in around.artifacts(kind)), key=_age(around))
    if mention.which == "previous":
        return (
            every[1] if len(every) > 1 else Unclear(f"There is no previous {_or(kinds)}. Which one is meant?")
        )
    if mention.which == "first":
        return every[-1] if every else _single([], _or(kinds))
    return _single(every, _or(kinds), newest=mention.which == "last")


def _released(mention: Mention, accepted: tuple[str, ...], around: Surroundings) -> ArtifactRef | Unclear:
    which = mention.name if mention.which == "release" else mention.which
    found = around.releases(which, mention.endpoint)
    if len(set(found.values())) > 1:
        return Unclear(f"{which.capitalize()} of which endpoint?", tuple(found))
    if not found:
        where = f"endpoint {mention.endpoint}" if mention.endpoint else "any endpoint"
        return Unclear(f"There is no {which} release of {where}. Which one is meant?")
    bundle = next(iter(found.values()))
    wanted = mention.kinds if set(mention.kinds) & set(accepted) else accepted
    behind = around.behind(bundle, tuple(kind for kind in accepted if kind in wanted) or accepted)
    return behind or bundle


def _single(found: list[ArtifactRef], what: str, newest: bool = False) -> ArtifactRef | Unclear:
    if not found:
        return Unclear(f"There is no {what} in this workspace yet. Which one is meant?")
    if len(found) > 1 and not newest:
        return Unclear(f"Which {what}?", tuple(ref.short for ref in found[:5]))
    return found[0]


def _age(around: Surroundings) -> Callable[[ArtifactRef], float]:
    def age(ref: ArtifactRef) -> float:
        return -(around.workspace.artifacts.folder(ref) / "artifact.json").stat().st_mtime_ns

    return age


def _or(kinds: tuple[str, ...]) -> str:
    return " or ".join(kind.replace("-", " ") for kind in kinds) or "artifact"
