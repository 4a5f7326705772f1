"""What is served where, without a verb: "v2 to desk, 5 %"."""

from __future__ import annotations

from ....core.artifact_refs import BundleRef
from .clauses import Clause
from .lexicon import Lexicon
from .mentions import is_release
from .surroundings import Surroundings
from .text import Token, words

_TO = words("to onto")
_HERE = words("on behind as at")
_OPENINGS = words("ok okay so now then and please pls hey hi hello , next well alright right also")
_VERB = Token("deploy", "word", "deploy")


def with_serving_verb(
    clauses: list[Clause], lexicon: Lexicon, around: Surroundings, *, is_question: bool
) -> list[Clause]:
    """The clauses, one that names a bundle or release, a place and nothing more as the wish that it is.

    Only where it is all that is said. A place behind "on" needs a share beside it: "v2 on desk" may tell.
    """
    said = [at for at, clause in enumerate(clauses) if not {one.key for one in clause.whole} <= _OPENINGS]
    if is_question or not said or any(clauses[at].kind != "told" for at in said):
        return clauses
    first = clauses[said[0]]
    tokens = [token for at in said for token in clauses[at].whole]
    while tokens and tokens[0].key in _OPENINGS:
        tokens = tokens[1:]
    if not _is_served(tokens, around) or not lexicon.matches([_VERB, *tokens]):
        return clauses
    wish = Clause([_VERB, *tokens], "wish", [_VERB, *tokens], first.opens)
    return [*clauses[: said[0]], wish]


def _is_served(tokens: list[Token], around: Surroundings) -> bool:
    """Whether a bundle or release is named, then where to."""
    if len(tokens) < 3:
        return False
    is_bundle = tokens[0].kind == "ref" and tokens[0].text.lower().startswith(f"{BundleRef.kind}:")
    if not is_bundle and not is_release(tokens[0]):
        return False
    keys = [token.key for token in tokens]
    place = 2
    while keys[place : place + 1] in (["the"], ["endpoint"], ["our"]):
        place += 1
    if place >= len(keys) or keys[place] not in around.endpoints:
        return False
    share = any(key in ("%", "percent", "canary") for key in keys[place:])
    return keys[1] in _TO or (keys[1] in _HERE and share)
