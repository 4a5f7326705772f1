"""Requests within a request: a gate's criteria, the shape of a model, by the names of their own fields."""

from __future__ import annotations

from typing import Any

from .amounts import amounts_in, named_beside
from .clause_tokens import ClauseTokens
from .drafts import OpenField, StepDraft
from .fields import FieldWords, field_words
from .number_slots import NumberSlots
from .word_values import fill_values


class NestedSlots(NumberSlots):
    """Fills the fields of a request that are requests themselves."""

    def _inner_numbers(
        self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens
    ) -> dict[str, dict[str, Any]]:
        """Numbers beside the names of fields within a field: "with 3 layers and width 96"."""
        found: dict[str, dict[str, Any]] = {}
        outer = {name for one in fields for name in one.names}
        for one in fields:
            numbers = [w for w in one.inside if w.takes_number and not w.is_list and not set(w.names) & outer]
            if not numbers or one.name in step.arguments:
                continue
            given: dict[str, Any] = {}
            taken: set[int] = set()
            for amount in amounts_in(clause.tokens, clause.taken):
                placed = named_beside(amount, [w for w in numbers if w.name not in given])
                if placed is not None and amount.unit not in ("percent", "usd", "minutes"):
                    given[placed.field.name] = placed.value
                    taken |= {*range(amount.start, amount.end), *placed.named_at}
            needed = {w.name for w in one.inside if w.is_required}
            if given and one.is_required:
                found[one.name] = given
                clause.taken |= taken
            elif given and needed <= given.keys():
                step.arguments[one.name] = given
                clause.taken |= taken
        return found

    def _nested(
        self,
        step: StepDraft,
        fields: list[FieldWords],
        clause: ClauseTokens,
        given: dict[str, dict[str, Any]],
    ) -> None:
        """A request within the request, as a gate's criteria."""
        for one in fields:
            if one.model is None or not one.is_required or one.name in step.arguments:
                continue
            inner = StepDraft("", step.skill)
            inside = field_words(one.model)
            self._places(inner, [w for w in inside if w.is_suite], clause)
            self._names(inner, inside, clause)
            fill_values(
                inner, [w for w in inside if w.is_required and w.takes_text], clause, self._lexicon.known
            )
            for amount in amounts_in(clause.tokens, clause.taken):
                share = amount.value / 100 if amount.unit == "percent" else amount.value
                least = next((w for w in inside if w.name == "min" and w.takes_number), None)
                named = least is not None and least.name in given.get(one.name, {})
                if least is not None and not named and 0 <= share <= 1:
                    inner.arguments[least.name] = share
                    clause.taken |= set(range(amount.start, amount.end))
            inner.arguments |= given.get(one.name, {})
            needed = [w.name for w in inside if w.is_required and w.name not in inner.arguments]
            if inner.arguments and not needed:
                step.arguments[one.name] = inner.arguments
            else:
                step.missing[one.name] = OpenField(
                    f"/{step.skill.name} also needs '{one.name}'"
                    + (f" with {', '.join(needed)}" if needed else "")
                    + f". Give it as a command, such as {step.skill.example}"
                )
