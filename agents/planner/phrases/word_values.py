"""Values that are words: those of a list, switches with or without, and "name is value"."""

from __future__ import annotations

from .clause_tokens import ClauseTokens
from .drafts import StepDraft
from .fields import FieldWords
from .text import words
from .words import PREPOSITIONS, SMALL

_DESCRIBES = words(
    "last latest best first all auto local current none train test text keep drop one case order"
)
_ON = words("with enable use using turn")
_OFF = words("without no disable")


def fill_values(step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
    """Values that are words, switches with or without, and "name is value"."""
    for one in fields:
        if one.name in step.arguments:
            continue
        for said, value in one.values:
            at = clause.find(said)
            if at is None:
                at = clause.find(said, literal=True)
            if at is None or (
                one.name not in clause.slots_at(at) and _needs_name(said) and not clause.is_named(one, at)
            ):
                continue
            clause.taken |= set(range(at, at + len(said))) | clause.name_beside(one, at)
            if not one.is_list:
                step.arguments[one.name] = value
                break
            several = {*step.arguments.get(one.name, ()), value}
            step.arguments[one.name] = [
                known for known in dict.fromkeys(one.plain_values) if known in several
            ]
        if one.is_flag:
            _switch(step, one, clause)
        elif one.takes_text and not one.is_endpoint and not one.kinds:
            _named_text(step, one, clause)


def _needs_name(words: tuple[str, ...]) -> bool:
    return len(words) == 1 and (words[0] in _DESCRIBES or words[0] in SMALL)


def _switch(step: StepDraft, one: FieldWords, clause: ClauseTokens) -> None:
    for name in one.names:
        at = clause.find(name)
        if at is None:
            continue
        before = clause.tokens[at - 1].key if at else ""
        after = clause.tokens[at + len(name)].key if at + len(name) < len(clause.tokens) else ""
        if before not in _ON | _OFF and after not in ("on", "off"):
            continue
        step.arguments[one.name] = before not in _OFF and after != "off"
        clause.taken |= (
            {at - 1, *range(at, at + len(name))}
            if before in _ON | _OFF
            else set(range(at, at + len(name) + 1))
        )
        return


def _named_text(step: StepDraft, one: FieldWords, clause: ClauseTokens) -> None:
    for name in one.names:
        at = clause.find(name)
        if at is None or (len(name) == 1 and name[0] in ("split", "task", "text")):
            continue
        end = at + len(name)
        while end < len(clause.tokens) and clause.tokens[end].key in ("is", "=", ":", "called", "named"):
            end += 1
        if end < len(clause.tokens) and (end > at + len(name) or len(name) > 1):
            value = clause.tokens[end]
            if value.kind in ("word", "quoted") and value.key not in SMALL | PREPOSITIONS:
                step.arguments[one.name] = [value.text] if one.is_list else value.text
                clause.taken |= set(range(at, end + 1))
                return
