"""A message as clauses: wishes in order, conditions, what is negated, and what only tells something."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ....core.contract import Effect
from .lexicon import Lexicon
from .mentions import is_older
from .text import Token, words
from .word_order import verb_first
from .wording import any_of, sections
from .words import ARTICLES, CONTRAST, NEGATIONS, PREPOSITIONS, negations_in, sequence_in, without_manners

_JOINING = words(
    "and then also plus afterwards next finally & or so , ; : - > \u2013 \u2014 \u2192 but that which"
)
_ASKING = words(
    "check see look out test know control verify tell say"
)  # "look if there is" asks, and sets no condition
_KINDLY = words("please pls kindly me us")
_COURTESIES = any_of(sections("courtesies")[""], r"\b", r"\b")
_SHALL_WE = re.compile(r"\bshall we(?= [.!?]|$)")
_ASKED_WHEN = words("did was were is has had do does")
_BOUNDS = words("more less later fewer longer greater higher than")
_IF = words("if unless provided when whenever once until")


@dataclass(frozen=True)
class Clause:
    """Part of a message: `tokens` without manners. kind: wish, condition, told, negated."""

    tokens: list[Token]
    kind: str
    whole: list[Token]
    opens: bool = True  # whether it begins a sentence


def clauses_of(tokens: list[Token], lexicon: Lexicon, names: frozenset[str] = frozenset()) -> list[Clause]:
    """The clauses of a message, from left to right; `names`: of suites, endpoints and files."""
    parts = [(part, opens) for part, opens in _parts(unsequenced(tokens, lexicon), lexicon) if part]
    return _scoped([replace(_judged(part, lexicon, names, opens), opens=opens) for part, opens in parts])


def unsequenced(tokens: list[Token], lexicon: Lexicon) -> list[Token]:
    """The tokens, with "once it is trained" and the like as a plain "then"."""
    keys = [token.key for token in tokens]
    text = " ".join(keys)
    match = sequence_in(text, lexicon.own_words)
    if match is None:
        return tokens
    start = text[: match.start()].count(" ")
    end = start + match.group().count(" ") + 1
    then = [Token(",", "mark", ","), Token("then", "word", "then")]
    return unsequenced([*tokens[:start], *then, *tokens[end:]], lexicon)


def _parts(tokens: list[Token], lexicon: Lexicon) -> list[tuple[list[Token], bool]]:
    """The tokens of each clause, and whether it begins a sentence."""
    parts: list[tuple[list[Token], bool]] = [([], True)]
    for at, token in enumerate(tokens):
        if token.kind == "end":
            parts.append(([], True))
            continue
        part = parts[-1][0]
        last = at + 1 == len(tokens) or tokens[at + 1].kind == "end"
        counts = token.key == "until" and not last and tokens[at + 1].kind == "number"
        begins = (
            frozenset[str]()
            if counts
            else _IF
            if last or (part and part[-1].is_word and is_older(tokens, at))
            else _IF | {"before"}
        )
        before = next((one.key for one in reversed(tokens[:at]) if one.key not in _KINDLY), "")
        conditions = (
            token.key in begins
            and before not in _ASKING
            and (before, token.key) not in (("for", "once"), ("at", "once"))
        )
        if part and (conditions or _begins(tokens, at, part, lexicon)):
            parts.append(([], False))
        parts[-1][0].append(token)
    return parts


def without_courtesies(tokens: list[Token]) -> list[Token]:
    """The tokens without "if possible" and the like."""
    keys = [token.key for token in tokens]
    text = " ".join(keys)
    match = _COURTESIES.search(text) or (_SHALL_WE.search(text) if "let us" in text else None)
    if match is None:
        return tokens
    start = text[: match.start()].count(" ")
    end = start + match.group().count(" ") + 1
    return without_courtesies([*tokens[:start], Token(",", "mark", ","), *tokens[end:]])


def without_left_out(tokens: list[Token], lexicon: Lexicon) -> list[Token]:
    """The tokens without what is said to be left out of them: "without evaluating it"."""
    for at in range(len(tokens) - 1):
        if tokens[at].key == "without" and tokens[at + 1].key in lexicon.gerunds.keys() - lexicon.field_names:
            end = next(
                (n for n in range(at, len(tokens)) if tokens[n].key in (",", "and", "but")), len(tokens)
            )
            return without_left_out([*tokens[:at], *tokens[end:]], lexicon)
    return tokens


def _begins(tokens: list[Token], at: int, part: list[Token], lexicon: Lexicon) -> bool:
    """Whether a new clause begins at a joining word, or in a condition at a word that tells what to do."""
    rest = tokens[at:]
    if part[0].key in _IF and rest[0].key in lexicon.heads and rest[0].key not in ("test", "report"):
        return bool(lexicon.matches(rest))
    if rest[0].key not in _JOINING:
        return False
    if rest[0].key == "that" and part[-1].key in (lexicon.heads | PREPOSITIONS) - lexicon.nouns:
        return False  # "keep that golden set out of it"
    ahead = next((n for n, token in enumerate(rest) if token.kind == "end"), len(rest))
    rest = rest[:ahead]
    if part[0].key in _IF and rest[0].key in (",", "then"):
        return True
    if _is_aside(rest) or (rest[0].key == "," and (_is_aside(part) or _is_told_of(part))):
        return True
    skip = 0
    while skip < len(rest) and rest[skip].key in _JOINING:
        skip += 1
    after = rest[skip:]
    if not after:
        return False
    if _goes_on_with_values(part, after, lexicon):
        return False
    ahead_keys = [token.key for token in after[:2]]
    if ahead_keys[0] in ("no", "not") and ahead_keys[-1] in _BOUNDS:
        return False
    if _says_more(part, after, lexicon):
        return False
    if after[0].key in NEGATIONS or (
        len(after) > 1 and after[0].key in ("do", "don", "please") and after[1].key in NEGATIONS
    ):
        return True
    if after[0].key in lexicon.gerunds and {token.key for token in rest[:skip]} <= {","}:
        return False  # "..., sending the prompts of the suite"
    start = without_manners([token.key for token in after], lambda place: lexicon.fit(after[place:]))
    if lexicon.matches(after[start:]) or _noun_of(after[start:], lexicon) is not None:
        return True
    end = next((n for n, token in enumerate(after) if token.key == ","), len(after))
    first = {token.key for token in rest[:skip]} & {"then", "afterwards", "next", "finally"}
    return bool(first) and verb_first(after[start:end], lexicon, frozenset(), []) is not None


def _is_aside(rest: list[Token]) -> bool:
    """Whether somebody or something is told of behind a comma: ", I have a call", ", the box is old"."""
    while len(rest) > 1 and rest[1].key == ",":
        rest = rest[1:]
    keys = [token.key for token in rest[1:]]
    said = keys[: keys.index(",")] if "," in keys else keys
    if rest[0].key != "," or len(said) < 3 or any(token.kind != "word" for token in rest[1 : 1 + len(said)]):
        return False
    return said[0] in TELLERS or (said[0] in ARTICLES and bool(_STATES & set(said[2:])))


def _is_told_of(part: list[Token]) -> bool:
    """Whether what is out already is told of: "the canary on shop looks good"."""
    keys = [token.key for token in part]
    named = next((at for at, key in enumerate(keys[:4]) if key in _RELEASED), None)
    return (
        named is not None and bool(_STATES & set(keys[named:])) and set(keys[:named]) <= ARTICLES | _JOINING
    )


TELLERS = words("i we he she they")
_STATES = words("is are was were has had keeps looks seems")
_WHOLE = 4.0  # score of a phrase that names a thing to be made
_RELEASED = words("canary stable release")


def _goes_on_with_values(part: list[Token], after: list[Token], lexicon: Lexicon) -> bool:
    """Whether what follows is "name=value", or one more value of it: "gpus=8", "domains=billing,shipping"."""
    if len(after) > 1 and after[1].key == "=":
        return True
    keys = [token.key for token in part]
    listed = next((at for at in range(len(keys) - 2, -1, -1) if keys[at] == ","), -1)
    given = "=" in (keys[-2:-1] or [""]) or "=" in keys[max(0, listed - 2) : listed]
    return given and after[0].key in lexicon.gerunds


def _says_more(part: list[Token], after: list[Token], lexicon: Lexicon) -> bool:
    """Whether what follows is an argument of the wish before: "canary 5 %", "no cache", a bare "shipping"."""
    if len(after) == 1 and after[0].key in lexicon.gerunds:
        return True
    start = without_manners([token.key for token in part], lambda place: lexicon.fit(part[place:]))
    found = lexicon.matches(part[start:])
    if not found:
        return False
    fields = lexicon.fields[found[0].skill.name]
    keys = [token.key for token in after]
    if keys[0] == "no":
        optional = [one for one in fields if not one.is_required]
        return any(tuple(keys[1 : 1 + len(name)]) == name for one in optional for name in one.names)
    counted = len(after) > 1 and after[1].kind == "number"
    if counted and keys[0] in ("gate", "bar") and any(one.is_suite and one.is_required for one in fields):
        return True  # the least score of what is measured
    held = len(after) > 1 and (
        after[1].kind in ("ref", "path", "address") or [token.key for token in after[2:3]] in ([], [","])
    )
    if held and any(one.kinds and not one.is_required and (keys[0],) in one.names for one in fields):
        return True  # "guardrails ..." of what is deployed
    numbers = [one for one in fields if one.takes_number]
    if any(_is_counted(after, name) for one in numbers for name in one.names if len(name) > 1):
        return True  # "near duplicates from 0.8 on" of what is cleaned
    return counted and any((keys[0],) in one.names for one in numbers)


def _is_counted(after: list[Token], name: tuple[str, ...]) -> bool:
    """Whether a number stands behind a name, with a small word between at most."""
    if tuple(token.key for token in after[: len(name)]) != name:
        return False
    behind = after[len(name) : len(name) + 2]
    is_led = len(behind) > 1 and behind[0].key in PREPOSITIONS | {"above", "over", "=", ":", "of", "is"}
    return behind[:1] != [] and (behind[0].kind == "number" or (is_led and behind[1].kind == "number"))


def _judged(part: list[Token], lexicon: Lexicon, names: frozenset[str], opens: bool) -> Clause:
    keys = [token.key for token in part]
    begin, pointing = 0, {"that", "which"} if opens else set[str]()
    while begin < len(keys) and keys[begin] in _JOINING - {"but"} - pointing:
        begin += 1
    first = keys[begin] if begin < len(keys) else ""
    if first == "when" and opens and set(keys[begin + 1 : begin + 2]) & _ASKED_WHEN:
        return Clause(part[begin:], "told", part)
    if first in _IF:
        return Clause(part[begin:], "condition", part)
    if first == "before":
        return Clause(part, "told", part)
    inner = part[begin:]
    if inner and inner[0].key == "but":
        inner = inner[1:]
    start = without_manners([token.key for token in inner], lambda place: lexicon.fit(inner[place:]))
    rest = inner[start:]
    lead = [token.key for token in inner[:start]]
    if negations_in(lead) and not {"not", "forget"} <= set(lead):
        return Clause(rest, "negated", part)
    if rest and lexicon.matches(rest) and not _tells_of(inner, keys[:begin], rest, lexicon):
        return Clause(rest, "wish", part)
    if negations_in([token.key for token in inner]):
        return Clause(inner, "negated", part)
    if (noun := _noun_of(rest, lexicon)) is not None:
        return Clause(noun, "wish", part)
    if (turned := verb_first(rest, lexicon, names, lead)) is not None:
        return Clause(turned, "wish", part)
    return Clause(rest, "told", part)


def _noun_of(tokens: list[Token], lexicon: Lexicon) -> list[Token] | None:
    """The tokens behind an article where a thing to be made is named: "a learning curve of ..."; or None."""
    if len(tokens) < 3 or tokens[0].key not in ("a", "an", "one", "another", "the"):
        return None
    found = lexicon.matches(tokens[1:])
    told = _STATES & {token.key for token in tokens}
    is_noun = tokens[1].key in lexicon.nouns
    if not found or told or not is_noun or found[0].skill.effect is Effect.SERVES:
        return None
    if tokens[0].key == "the" and (found[0].score < _WHOLE or any(not one.is_word for one in tokens[1:3])):
        return None
    return tokens[1:]


def _tells_of(inner: list[Token], lead: list[str], rest: list[Token], lexicon: Lexicon) -> bool:
    """Whether a thing is told of where its name also says what to do: "that canary on shop is slow"."""
    at = len(inner) - len(rest)
    pointed = (inner[at - 1].key if at else (lead or [""])[-1]) in ("that", "this", "the")
    keys = [token.key for token in rest]
    serves = any(one.skill.effect is Effect.SERVES for one in lexicon.matches(rest))
    end = keys.index(",") if "," in keys and not serves else len(keys)
    told = bool(_STATES & set(keys[1:end]))
    return told and keys[0] in lexicon.nouns and (pointed or keys[0] in _RELEASED)


def own_words_of(clauses: list[Clause], lexicon: Lexicon) -> set[int]:
    """The tokens, by identity, that are the fixed words of phrases which wishes begin with and have whole."""
    wishes = [clause.tokens for clause in clauses if clause.kind == "wish"]
    found = [(tokens, lexicon.matches(tokens)[0]) for tokens in wishes]
    return {id(tokens[at]) for tokens, match in found if match.is_whole for at in match.used}


def _scoped(clauses: list[Clause]) -> list[Clause]:
    """A negation reaches to the end of its sentence, or up to a "but" or the like."""
    found: list[Clause] = []
    is_negated = False
    for clause in clauses:
        if clause.opens or any(token.key in CONTRAST for token in clause.whole[:4]):
            is_negated = False
        if clause.kind == "wish" and is_negated:
            clause = replace(clause, kind="negated")
        found.append(clause)
        is_negated = is_negated or clause.kind == "negated"
    return found


_BAR = re.compile(r"(?P<number>\d[\d.]*) ?(?P<percent>%|percent|pct)?")
_BETTER = re.compile(
    r"\b(?:better|no worse|not worse|as good|beats?|at least as good|improves|improved|outperforms?)\b"
)


def bar_of(keys: list[str]) -> dict[str, float | str] | None:
    """The gate that a condition states: a least score, or not worse than stable; None when it states none."""
    text = " ".join(keys)
    numbers = [match for match in _BAR.finditer(text) if not match.group("number").startswith(".")]
    if len(numbers) == 1:
        value = float(numbers[0].group("number").rstrip("."))
        share = value / 100 if numbers[0].group("percent") or value > 1 else value
        below = re.search(r"\b(?:below|under|less|worse|lower|fails|drops)\b", text)
        return {"min": round(share, 6)} if 0 <= share <= 1 and not below else None
    if (
        not numbers
        and _BETTER.search(text)
        and re.search(r"\b(?:stable|live|production|prod|current|now)\b", text)
    ):
        return {"against": "stable"}
    return None


_OPEN = words("something anything whatever")
_ANOTHER = words("else different other similar")


def left_open(tokens: list[Token]) -> list[Token]:
    """What a wish leaves open, right behind what is to be done: "build something else from it"."""
    keys = [token.key for token in tokens[1:4]]
    return tokens[1:3] if keys[:1] and keys[0] in _OPEN and keys[1:2] and keys[1] in _ANOTHER else []
