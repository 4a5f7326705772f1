"""A wish whose words stand in an order of their own: "I need to know if on the desk there is drift"."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ....core.contract import Effect
from .accounting import ClauseReading
from .lexicon import Lexicon
from .phrase_patterns import PhraseMatch
from .text import Token, stem_of, words

_REQUESTS = words("please pls plz need want like can could must wish love kindly ask you")
_AROUND = words("is are be was were has have had do does did know see tell find if whether there")
_LONGEST = 24  # words of such a wish


def loose_wish(
    tokens: list[Token],
    lead: list[str],
    lexicon: Lexicon,
    read: Callable[[PhraseMatch, list[Token]], ClauseReading],
) -> PhraseMatch | None:
    """The one phrase all of whose words are said, with all that it needs and nothing left over; else None.

    Only behind politeness that asks for something, and never for what serves. lead: that politeness.
    """
    if not set(lead) & _REQUESTS or not 2 < len(tokens) <= _LONGEST:
        return None
    fits: dict[str, PhraseMatch] = {}
    for match in said_anywhere(tokens, lexicon):
        name = match.skill.name
        if name in fits and len(fits[name].used) >= len(match.used):
            continue
        reading = read(match, tokens)
        unknown = {word.lower() for word in reading.unknown} - _AROUND
        left = reading.unused or unknown or reading.negations or reading.step.missing
        if not left and (reading.own or not lexicon.fields[name]):
            fits[name] = match
    most = max((len(match.used) for match in fits.values()), default=0)
    best = [match for match in fits.values() if len(match.used) == most]
    return best[0] if len(best) == 1 else None


def without_verb(
    tokens: list[Token],
    lexicon: Lexicon,
    read: Callable[[PhraseMatch, list[Token]], ClauseReading],
) -> PhraseMatch | None:
    """The one skill that serves nothing and takes all that is said, more than it needs, without a verb."""
    if not 1 < len(tokens) <= _LONGEST or not any(token.kind in ("ref", "path") for token in tokens):
        return None
    fits: dict[int, list[PhraseMatch]] = {}
    for skill in lexicon.skills:
        needed = {one.name for one in lexicon.fields[skill.name] if one.is_required}
        if skill.effect is Effect.SERVES or not needed:
            continue
        pattern = next(one for found in lexicon.patterns.values() for one in found if one.skill is skill)
        match = PhraseMatch(pattern, frozenset(), {}, 0.0)
        reading = read(match, tokens)
        left = reading.unused or reading.unknown or reading.negations or reading.step.missing
        if not left and needed < set(reading.own):
            fits.setdefault(len(needed), []).append(match)
    best = fits[max(fits)] if fits else []
    return best[0] if len(best) == 1 else None


def said_anywhere(tokens: list[Token], lexicon: Lexicon) -> Iterator[PhraseMatch]:
    """The phrases of skills that serve nothing whose words are all said, in whatever order."""
    places: dict[str, int] = {}
    for at, token in enumerate(tokens):
        if token.is_word:
            places.setdefault(stem_of(token.key), at)
            for forms in (lexicon.gerunds, lexicon.participles):
                if token.key in forms:
                    places.setdefault(stem_of(forms[token.key]), at)
    for patterns in lexicon.patterns.values():
        for pattern in patterns:
            said = [stem_of(part.key) for part in pattern.parts if not (part.is_slot or part.may_miss)]
            if pattern.skill.effect is Effect.SERVES or not all(key in places for key in said):
                continue
            slots = {part.key: (0, len(tokens)) for part in pattern.parts if part.is_slot}
            yield PhraseMatch(pattern, frozenset(places[key] for key in said), slots, float(len(said)))
