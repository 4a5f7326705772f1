"""Every word of a clause accounted for: what was placed, what means nothing, what nothing was done with."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....core.contract import Effect
from .clause_tokens import ClauseTokens
from .drafts import StepDraft
from .lexicon import Lexicon
from .phrase_patterns import PhraseMatch
from .surroundings import Surroundings
from .text import Token, key_of_word, stem_of, words
from .words import ARTICLES, PREPOSITIONS, SETTING, SMALL, negations_in

_FINITE = words("is was were are been has had did does will would seems looks")  # then it tells of something
VALUES = (
    "number",
    "date",
    "path",
    "ref",
    "address",
    "quoted",
    "mapping",
)  # kinds of token that say something by themselves
_WITH = words("with using without by at under within w")
_COUNTS = words(
    "dozen dozens hundred hundreds thousand thousands million half couple"
)  # of which none is known
_ENDS = words("and or but then because since so that which who for to on from , ; :")


@dataclass
class ClauseReading:
    """One clause as a step: what of its words nothing accounts for, and which of them negate."""

    step: StepDraft
    match: PhraseMatch
    unknown: list[str] = field(default_factory=list)  # words
    unused: list[str] = field(default_factory=list)  # numbers, paths, references, quotations, names
    negations: list[str] = field(default_factory=list)
    own: tuple[str, ...] = ()  # fields that its words gave a value
    placed: tuple[str, ...] = ()  # fields that it gave a value, where a step was changed


def accounted(
    reading: ClauseReading, clause: ClauseTokens, lexicon: Lexicon, around: Surroundings
) -> ClauseReading:
    """The reading with each word that nothing was done with under what is wrong with it."""
    skill = reading.step.skill
    meant = {stem_of(key) for one in lexicon.fields[skill.name] for name in one.names for key in name}
    meant |= {stem_of(key_of_word(word.strip(".,:;"))) for word in skill.summary.split()}
    negating = set(negations_in([token.key for token in clause.tokens]))
    filled = [one for one in lexicon.fields[skill.name] if one.name in reading.step.arguments]
    named = {stem_of(key) for one in filled for name in one.names for key in name}
    named |= {stem for one in filled if not one.is_required for stem in one.about | one.says}
    named |= lexicon.own_stems[skill.name]
    setting = SETTING if skill.effect is not Effect.SERVES else frozenset[str]()
    heads = lexicon.doing_heads - setting
    said = _said_with(clause, lexicon, reading.step) | _said_alone(clause, lexicon, reading.step)
    for at, token in enumerate(clause.tokens):
        if at in clause.taken:
            continue
        if at in negating:
            reading.negations.append(token.text)
        elif token.is_word and stem_of(token.key) in named and at not in clause.passed_over:
            continue
        elif token.is_word and (token.key in _FINITE or at in clause.passed_over):
            reading.unknown.append(token.text)
            reading.unused += [token.text] * (at in clause.passed_over)
        elif (
            at in said
            or (token.is_word and token.key in _COUNTS)
            or (at and clause.tokens[at - 1].key == "=")  # a value that was given and not placed
            or (token.is_word and token.key in heads)  # a wish of its own, not taken apart
            or is_value(token, around)
            or skill.name not in lexicon.telling_values.get(token.key, {skill.name})
        ):
            reading.unused.append(token.text)
        elif (
            token.is_word
            and token.key not in SMALL | PREPOSITIONS | setting
            and stem_of(token.key) not in meant
        ):
            reading.unknown.append(token.text)
    return reading


def is_value(token: Token, around: Surroundings) -> bool:
    """Whether a token says something by itself: a number, a file, a reference, a suite or endpoint."""
    return token.kind in VALUES or (token.is_word and token.key in around.suites | around.endpoints)


def _said_alone(clause: ClauseTokens, lexicon: Lexicon, step: StepDraft) -> set[int]:
    """Words of no known meaning alone behind a comma, or right before a field that got no value."""
    keys = [token.key for token in clause.tokens]
    empty = [one for one in lexicon.fields[step.skill.name] if one.name not in step.arguments]
    opens = {name for one in empty for name in one.names if not one.is_required}
    found: set[int] = set()
    for at, token in enumerate(clause.tokens):
        if not token.is_word or at in clause.taken or token.key in lexicon.known | lexicon.kept:
            continue
        follows = keys[at + 1] if at + 1 < len(keys) else ","
        is_alone = at > 0 and keys[at - 1] == "," and follows in (",", "and")
        after = at + 1
        while after < len(keys) and keys[after] in ARTICLES:
            after += 1
        named = any(tuple(keys[after : after + len(name)]) == name for name in opens if len(name) > 1)
        if is_alone or named:
            found.add(at)
    return found


def _said_with(clause: ClauseTokens, lexicon: Lexicon, step: StepDraft) -> set[int]:
    """Words behind "with" and the like of which none was placed: an argument that was not understood."""
    found: set[int] = set()
    keys = [token.key for token in clause.tokens]
    for at, key in enumerate(keys):
        if key not in _WITH or at in clause.taken:
            continue
        end = next((n for n in range(at + 1, len(keys)) if keys[n] in _ENDS | _WITH), len(keys))
        span = set(range(at + 1, end))
        if not span & clause.taken and not any(clause.tokens[n].kind == "end" for n in span):
            found |= {n for n in span if clause.tokens[n].is_word and keys[n] not in SMALL | PREPOSITIONS}
    return found
