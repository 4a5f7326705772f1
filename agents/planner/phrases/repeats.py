"""One wish for several things: a step for each further suite, endpoint or artifact that is named."""

from __future__ import annotations

from pathlib import Path

from .accounting import ClauseReading
from .clauses import Clause
from .drafts import PlanDraft
from .lexicon import Lexicon
from .surroundings import Surroundings
from .text import words

_ALSO = words("and , & both plus the then")


class Repeats:
    """Adds to a draft the steps that a wish for several things is."""

    def __init__(self, lexicon: Lexicon, around: Surroundings, draft: PlanDraft) -> None:
        self.lexicon, self.around, self.draft = lexicon, around, draft

    def add(self, reading: ClauseReading, clause: Clause) -> None:
        """Have a step done again for each further thing of a kind that it needs."""
        self._repeated(reading, clause)
        self._repeated_for(reading, clause)

    def _repeated(self, reading: ClauseReading, clause: Clause) -> None:
        """Have a step done again for each further suite or endpoint: "deploy it to shop and desk"."""
        fields = self.lexicon.fields[reading.step.skill.name]
        for one in fields:
            named = self.around.suites if one.is_suite else self.around.endpoints if one.is_endpoint else {}
            first = str(reading.step.arguments.get(one.name, ""))
            places = [at for at, token in enumerate(clause.tokens) if token.is_word and token.key in named]
            start = next(
                (at for at in places if Path(first).stem == Path(named[clause.tokens[at].key]).stem), None
            )
            if start is None or not one.is_required:
                continue
            for at in places:
                token = clause.tokens[at]
                between = {one.key for one in clause.tokens[start + 1 : at]}
                if (
                    at > start
                    and token.text in reading.unused
                    and between & _ALSO
                    and between <= _ALSO | set(named)
                ):
                    again = self.draft.add(reading.step.skill)
                    value = named[token.key]
                    again.arguments = {
                        **reading.step.arguments,
                        one.name: value if "/" in first else Path(value).stem,
                    }
                    reading.unused.remove(token.text)

    def _repeated_for(self, reading: ClauseReading, clause: Clause) -> None:
        """Have a step done again for each further artifact: "evaluate model-1 and model-2 on reviews"."""
        needed = [
            one for one in self.lexicon.fields[reading.step.skill.name] if one.is_required and one.kinds
        ]
        tokens = clause.tokens
        for one in needed:
            if one.is_list or one.name not in reading.step.arguments:
                continue
            for at, token in enumerate(tokens):
                before = at
                while before and tokens[before - 1].key in _ALSO:
                    before -= 1
                is_more = token.kind == "ref" and token.text in reading.unused and before < at
                if not (is_more and before and tokens[before - 1].kind == "ref"):
                    continue
                found = self.around.resolve(token.text)
                if found is not None and found.kind in one.kinds:
                    again = self.draft.add(reading.step.skill)
                    again.arguments = {**reading.step.arguments, one.name: str(found)}
                    again.missing = dict(reading.step.missing)
                    reading.unused.remove(token.text)
