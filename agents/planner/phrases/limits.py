"""What a plan may take, said before the wish: "under 5 dollars, ...", "in at most 2 hours: ..."."""

from __future__ import annotations

from .amounts import Amount, amounts_in, budget_of
from .text import Token, words

_BEFORE = words(
    """
    please ok okay so and but also hi hello in within under below for with at up to no not more less than most
    max maximum maximal maximally budget limit cap spend spending cost costs costing take takes using only of
    a an the is are my our your we i have has had got time money it that this whole all everything may must
    should can could shall do does be keep stay stays total altogether just about around roughly , - : _ or
    """
)
_LEADS = words(
    """
    in within under below for with most max maximum maximal maximally budget limit cap spend spending cost
    costing than to only have
    """
)
_BEHIND = words(", : - please total max maximum tops altogether budget or less is the limit")
_FEW = 4  # words that lead to one more limit
_ONE = words("hour day minute dollar")
_UP_TO = words("under within most than below max in about maximum")


def limits_behind(tokens: list[Token]) -> list[Token]:
    """The tokens with what the plan may take behind the first sentence that says what to do."""
    tokens = _counted(tokens)
    start, limits = 0, list[Amount]()
    found = {one.start: one for one in amounts_in(tokens, set())}
    led = False
    while start < len(tokens):
        if start in found and (led or found[start].unit == "usd") and budget_of(found[start]):
            limits.append(found[start])
            start = found[start].end
        elif tokens[start].kind == "end" and limits:
            start += 1
        elif tokens[start].key in (_BEHIND if limits else _BEFORE) or _leads_on(tokens, start, found):
            led = led or tokens[start].key in _LEADS
            start += 1
        elif limits or tokens[start].key not in _BEFORE:
            break
    if not limits or start >= len(tokens) or start in found or tokens[start].key in ("per", "each"):
        return tokens
    end = next((at for at in range(start, len(tokens)) if tokens[at].kind == "end"), len(tokens))
    said: list[Token] = []
    for one in limits:
        said += [Token(",", "mark", ","), Token("max", "word", "max"), *tokens[one.start : one.end]]
    scheduled = [token for token in tokens[:1] if token.key == "in"]  # "in 2 hours, ..." is a time
    if scheduled and limits[0].start == 1:
        return tokens
    return [*tokens[start:end], *said, *tokens[end:]]


def _leads_on(tokens: list[Token], start: int, found: dict[int, Amount]) -> bool:
    """Whether one more limit follows: "... and under 5 dollars"."""
    at = start
    while at < len(tokens) and tokens[at].key in _LEADS | {"and", "at"} and at - start < _FEW:
        at += 1
    return at > start and at in found and bool(budget_of(found[at]))


def _counted(tokens: list[Token]) -> list[Token]:
    """The tokens with "under an hour" as a number."""
    found = list(tokens)
    for at in range(1, len(tokens) - 1):
        one = tokens[at].key in ("a", "an") and tokens[at + 1].key in _ONE
        if one and tokens[at - 1].key in _UP_TO - {"in"}:
            found[at] = Token("1", "number", "1")
    return found
