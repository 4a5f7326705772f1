"""What people say beside a wish: why, how they feel, who waits. It holds nothing that a plan could take."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ....core.contract import Effect
from .clauses import clauses_of
from .lexicon import Lexicon
from .text import Token, stem_of, words
from .wording import any_of, sections
from .words import ARTICLES, NEGATIONS, SMALL, cues_in

_PEOPLE = words(
    """
    i we he she they it that this everyone everybody somebody someone people folks customers users
    management legal marketing sales support finance there
    """
)
_OPENINGS = words(
    """
    so and but because since as well ok okay right oh ah hey hi haha lol honestly actually frankly anyway now
    just also apparently sadly luckily been still ugh man yes yeah then plus sorry curious wondering
    """
)
_WISHING = words(
    """
    want wants wanted need needs needed like likes love would should must shall will wish require request ask
    asks can could may might let expect insist prefer demand you
    """
)
_HANGS = words("if unless until when whenever once before after provided")
_MARKS = words(", - – — ( )")  # noqa: RUF001  # dashes of every kind
_LED = re.compile(
    r"^(?:(?:so|and|but|hence|therefore|thus|then|now|ok|okay|well|also|just|,) )*"
    r"(?:please|pls|plz|kindly|(?:can|could|would|will) you|let us|(?:i|we) (?:would like|need|want)|so)\b"
)
_HOLDING = words("have has is are am")
_EXCUSED = frozenset({"reported", "hypothetical", "scheduled"})
_NEVER = any_of(sections("asides")["never"], r"\b(?:", r")\b")
_SERVING = any_of(sections("asides")["serving"], r"^(?:", r")$")
_BEHIND = any_of(sections("asides")["behind"], r"^(?:", r")")
_POLITE = any_of(sections("asides")["polite"], r"^(?:", r")$")
_LEAST, _COMPLEMENT, _FEW = 3, 3, 16  # words of an aside, behind its cue, at most


@dataclass(frozen=True)
class _Segment:
    """What stands between two marks: its tokens' places, and the mark behind it."""

    start: int
    end: int
    mark: str


def without_asides(tokens: list[Token], lexicon: Lexicon, names: Collection[str]) -> list[Token]:
    """The tokens without the asides; all of them where nothing else says what to do.

    names: of suites, endpoints and files. Where a skill that serves is spoken of, only what the wording lists
    is an aside; elsewhere whatever tells of somebody or something and holds no value, no wish, no denial.
    """
    segments = list(_segments(tokens))
    wishes = [_wish_at(tokens[one.start : one.end], lexicon, names) for one in segments]
    if not any(wishes):
        return tokens
    serves = any(
        match.skill.effect is Effect.SERVES
        for at in range(len(tokens))
        for match in lexicon.matches(tokens[at:])
    )
    spoken = _spoken_of(tokens, lexicon) - SMALL
    dropped: set[int] = set()
    for place, one in enumerate(segments):
        said = tokens[one.start : one.end]
        dropped |= _purpose(tokens, one, lexicon, names) if not serves else set()
        if wishes[place] or one.mark == ":" or not said:
            dropped |= _curious(tokens, one, lexicon, names) if not serves else set()
            continue
        text = " ".join(token.key for token in said)
        if not serves and _POLITE.match(text):
            dropped |= set(range(one.start, one.end))
            continue
        follows = next((n for n in range(place + 1, len(segments)) if wishes[n]), None)
        behind = follows is None
        if not serves and any(stem_of(token.key) in spoken for token in said):
            continue
        if not serves and _is_curious(said, text, names):
            dropped |= set(range(one.start, one.end))
            continue
        if not _is_plain(said, lexicon, names, serves=serves):
            continue
        if serves:
            is_aside = _SERVING.match(_opened(text)) is not None
        elif behind:
            is_aside = "?" not in tokens[one.end].text if one.end < len(tokens) else True
            is_aside = is_aside and _is_told(text, behind=True)
        else:
            nearest = segments[follows or 0]
            led = nearest.start > 0 and tokens[nearest.start - 1].kind == "end"
            wish = " ".join(token.key for token in tokens[nearest.start : nearest.end])
            is_aside = _is_told(text, behind=False) and (
                not cues_in(text.split()) or led or _LED.match(wish) is not None
            )
        if is_aside:
            dropped |= set(range(one.start, one.end))
        if not serves and not is_aside:
            dropped |= _curious(tokens, one, lexicon, names)
    return _without(tokens, dropped)


def _curious(tokens: list[Token], one: _Segment, lexicon: Lexicon, names: Collection[str]) -> set[int]:
    """The places of "and see what we get" at the end of a segment, where that asks for nothing."""
    for at in range(one.start + 1, one.end - 1):
        rest = tokens[at : one.end]
        plain = all(token.is_word and token.key not in names for token in rest)
        asked = rest[1:] if rest[0].key in _SEEING else rest[2:] if _is_told_me(rest) else []
        if (
            not asked
            or asked[0].key not in _WHAT
            or not plain
            or lexicon.matches(rest)
            or lexicon.matches(asked)
        ):
            continue
        start = at
        while start > one.start and tokens[start - 1].key in _LEADING:
            start -= 1
        return set(range(start, one.end))
    return set()


def _is_told_me(rest: list[Token]) -> bool:
    """Whether what comes out is to be told: "and tell me how quick it is"."""
    return len(rest) > 2 and rest[0].key in _TELLING and rest[1].key in ("me", "us")


def _purpose(tokens: list[Token], one: _Segment, lexicon: Lexicon, names: Collection[str]) -> set[int]:
    """The places of what shall not happen, as a reason: "... so that nothing leaks"."""
    for at in range(one.start, one.end - 2):
        rest = tokens[at : one.end]
        keys = [token.key for token in rest]
        if keys[0] not in ("so", "that") or keys[1] not in _PEOPLE | ARTICLES | {"nothing", "nobody", "so"}:
            continue
        plain = all(token.is_word and token.key not in names for token in rest)
        asks = any(lexicon.matches(rest[n:]) for n in range(1, len(rest)) if keys[n - 1] not in ARTICLES)
        if plain and not asks and set(keys) & NEGATIONS and not set(keys) & {"you", "we", "i"}:
            return set(range(at, one.end))
        is_end = plain and keys[0] == "so" and bool(set(keys[1:4]) & _ABLE) and not set(keys) & NEGATIONS
        if is_end and not any(lexicon.matches(rest[n:]) for n in range(1, len(rest))):
            return set(range(at, one.end))
    return set()


_TELLING = words("tell show report let")
_ABLE = words("can could may will")
_SEEING, _WHAT, _LEADING = (
    words("see know learn"),
    words("what how where"),
    words("and to then let us so we can i"),
)


def _segments(tokens: list[Token]) -> Iterator[_Segment]:
    start = 0
    for at, token in enumerate([*tokens, Token(".", "end", ".")]):
        if token.kind == "end" or (token.kind == "mark" and token.key in _MARKS | {":"}):
            yield _Segment(start, at, token.key)
            start = at + 1


def _wish_at(said: list[Token], lexicon: Lexicon, names: Collection[str]) -> bool:
    """Whether a segment says what to do."""
    return any(clause.kind == "wish" for clause in clauses_of(said, lexicon, frozenset(names)))


def _spoken_of(tokens: list[Token], lexicon: Lexicon) -> set[str]:
    """The words of the fields and values, without endings, of every skill that any place speaks of."""
    skills = {match.skill.name for at in range(len(tokens)) for match in lexicon.matches(tokens[at:])}
    found: set[str] = set()
    for one in (one for name in skills for one in lexicon.fields[name] if not one.is_required):
        said = [*one.names, *(value for value, _ in one.values)]
        found |= {stem_of(key) for name in said for key in name}
    return found


def _is_plain(said: list[Token], lexicon: Lexicon, names: Collection[str], *, serves: bool) -> bool:
    """Whether words alone are said, none of them a value, a denial or, where it is no plain verb, a wish."""
    if not _LEAST <= len(said) <= _FEW or any(not token.is_word for token in said):
        return False
    keys = {token.key for token in said}
    if keys & (NEGATIONS | _HANGS) or (keys & set(names) and not serves):
        return False
    return serves or not any(
        match.skill.effect is not Effect.READS
        for at in range(len(said))
        for match in lexicon.matches(said[at:])
    )


def _is_curious(said: list[Token], text: str, names: Collection[str]) -> bool:
    """Whether words alone tell of wanting to see what comes: "just want to see if it runs at all"."""
    plain = all(token.is_word and token.key not in names for token in said)
    told = bool(_BEHIND.match(text)) and not _NEVER.search(text)
    return plain and told and not {token.key for token in said} & (NEGATIONS | _JUDGING)


_JUDGING = words("better worse good pass passes beats reaches")


def _opened(text: str) -> str:
    """The words behind "so", "well" and the like."""
    found = text.split()
    while found and found[0] in _OPENINGS:
        found.pop(0)
    return " ".join(found)


def _is_told(text: str, *, behind: bool) -> bool:
    """Whether somebody or something is told of, with no cue that is about the wish itself."""
    if behind and _BEHIND.match(text):
        return _NEVER.search(text) is None
    said = _opened(text).split()
    if len(said) < _LEAST or not (said[0] in _PEOPLE or (said[0] in ARTICLES and len(said) > _LEAST)):
        return False
    if set(said[1:3]) & _WISHING:
        return False
    cues = cues_in(text.split())
    if not cues:
        return True
    if behind and set(cues) == {"scheduled"}:
        return said[1] in _HOLDING  # "I have a meeting at noon"
    if behind or set(cues) - _EXCUSED or _NEVER.search(text):
        return False
    told = [
        len(text[text.index(words) + len(words) :].split())
        for why, words in cues.items()
        if why != "scheduled"
    ]
    return all(left >= _COMPLEMENT for left in told)


def _without(tokens: list[Token], dropped: set[int]) -> list[Token]:
    return [token for at, token in enumerate(tokens) if at not in dropped]
