"""Numbers of one clause, into the fields of a step, its gate, or the plan's budget."""

from __future__ import annotations

from ....core.artifact_refs import EvalReportRef
from .amounts import Amount, amounts_in, budget_of, field_of, fits_unit, in_unit
from .clause_tokens import ClauseTokens
from .drafts import StepDraft
from .fields import FieldWords
from .place_slots import PlaceSlots
from .text import words

_BETWEEN_NUMBERS = words(", and or & then /")
_LEAST = words(
    """
    min minimum minimally least reach reaches bar pass passes gate require requires requiring
    required threshold atleast
    """
)
_WHOLE = words(
    """
    the a whole entire complete plan thing run job all everything in for of at most max within under total
    spend spending no more than only budget may use can uses a limit keep stay stays cost costs is
    """
)


class NumberSlots(PlaceSlots):
    """Fills what is a number: fields by name and unit, a least score as a gate, the rest as a budget."""

    def _amounts(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Numbers with units; a duration or a price that no field takes is the plan's budget."""
        for amount in amounts_in(clause.tokens, clause.taken):
            if amount.start in clause.taken:
                continue  # one more of a list
            found = field_of(amount, clause.tokens, fields, set(step.arguments))
            span = set(range(amount.start, amount.end))
            if found is not None:
                one, value = found.field, found.value
                step.arguments[one.name] = (
                    [value, *self._more(amount, one, clause, fields)] if one.is_list else value
                )
                clause.taken |= span | found.named_at
            elif limit := budget_of(amount):
                self._draft.budget |= limit
                clause.taken |= span | _whole_before(clause, amount.start) | _whole_behind(clause, amount.end)

    def _row(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Several numbers in a row that nothing names, into the one list of numbers there is: "1, 10, 30"."""
        lists = [one for one in fields if one.is_list and one.takes_number and one.name not in step.arguments]
        if len(lists) != 1:
            return
        for amount in amounts_in(clause.tokens, clause.taken):
            bare = not (amount.unit.isalpha() and amount.unit not in ("percent", "then", "and"))
            if amount.start in clause.taken or not bare or not fits_unit(amount, lists[0]):
                continue
            kept = set(clause.taken)
            clause.taken |= set(range(amount.start, amount.end))
            more = self._more(amount, lists[0], clause, fields)
            if more:
                step.arguments[lists[0].name] = [in_unit(amount, lists[0]), *more]
                return
            clause.taken = kept

    def _least_score(self, step: StepDraft, clause: ClauseTokens) -> None:
        """A least score that a measuring step must reach is its gate: "evaluate it on tickets, min 0.85"."""
        measures = any(kind == EvalReportRef.kind for _, kind in step.outputs())
        if not measures or "suite" not in step.arguments or self._draft.gates:
            return
        for amount in amounts_in(clause.tokens, clause.taken):
            share = amount.value / 100 if amount.unit == "percent" else amount.value
            said = {at for at in amount.before_at[-4:] if amount.key(at) in _LEAST}
            if amount.before[-3:] in (("not", "less", "than"), ("no", "less", "than")):
                said = set(amount.before_at[-3:])
            behind = _least_behind(amount)
            said |= behind
            counted = amount.unit == "percent" or (0 < share < 1 and not amount.unit.isalpha())
            if said and counted and 0 < share <= 1 and amount.after[:1] != ("of",):
                self._draft.gates = {"release": {"suite": step.arguments["suite"], "min": round(share, 6)}}
                step.gate = "release"
                clause.taken |= said | set(range(amount.start, amount.end))
                return

    @staticmethod
    def _more(first: Amount, one: FieldWords, clause: ClauseTokens, fields: list[FieldWords]) -> list[float]:
        """The numbers that follow the first of a list: "5, 25 and 50"."""
        found, at = [], first.end
        rest = {amount.start: amount for amount in amounts_in(clause.tokens, clause.taken)}
        others = {name[0] for field in fields if field is not one for name in field.names if len(name) == 1}
        while at < len(clause.tokens) and (clause.tokens[at].key in _BETWEEN_NUMBERS or at in rest):
            at += clause.tokens[at].key in _BETWEEN_NUMBERS  # "5, 25 and 50" or "5 25 50"
            own = at in rest and any(rest[at].after[: len(name)] == name for name in one.names)
            if at in rest and (not fits_unit(rest[at], one) or (not own and _is_of_other(rest[at], others))):
                break  # of something else
            if at in rest:
                clause.taken |= set(range(at, rest[at].end))
                found.append(in_unit(rest[at], one))
                at = rest[at].end
        return found


def _least_behind(amount: Amount) -> set[int]:
    """The places of "at least" and the like behind a number: "0.9 at least", "85 % or better"."""
    for said in _LEAST_BEHIND:
        if amount.after[: len(said)] == said:
            return set(range(amount.end, amount.end + len(said)))
    return set()


_LEAST_BEHIND = (
    ("at", "least"),
    ("or", "more"),
    ("or", "better"),
    ("or", "higher"),
    ("or", "above"),
    ("minimum",),
    ("min",),
    ("as", "the", "bar"),
    ("as", "a", "minimum"),
    ("to", "pass"),
    ("+",),
)


def _whole_before(clause: ClauseTokens, at: int) -> set[int]:
    """The places of "the whole plan for" and the like before what it may take."""
    found: set[int] = set()
    while at and clause.tokens[at - 1].key in _WHOLE:
        at -= 1
        found.add(at)
    return found


def _whole_behind(clause: ClauseTokens, at: int) -> set[int]:
    """The places of "for the whole plan" behind what it may take."""
    end = at
    while end < len(clause.tokens) and clause.tokens[end].key in _WHOLE | {"on"}:
        end += 1
    keys = {token.key for token in clause.tokens[at:end]}
    return set(range(at, end)) if keys & {"plan", "whole", "everything", "total", "job"} else set()


def _is_of_other(amount: Amount, names: set[str]) -> bool:
    """Whether the word behind a number is another field's name: "200 requests", not "50 requests=8"."""
    return amount.unit in names and amount.after[1:2] != ("=",)
