"""Filling a step's fields from one clause: by types, names, units and places, every word accounted for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .accounting import ClauseReading, accounted
from .clause_tokens import ClauseTokens
from .drafts import OpenField, StepDraft
from .fields import FieldWords
from .mentions import Mention, Unclear, mentions_in, resolve
from .nested_slots import NestedSlots
from .phrase_patterns import PhraseMatch
from .supplies import called
from .text import Token, is_typo_of, words
from .word_values import fill_mappings, fill_values
from .words import ARTICLES, PREPOSITIONS, SMALL

_OTHER = words("new nice good better fresh useful cool")
_POLITE = words("please pls plz kindly thanks thx too also")
_SETS = words("let allow limit keep cap set make with at no restrict use hold give have max maximum longest")
_BOUNDS = words("max min most least maximum minimum upto")
_WITH = words("with using")
_ROWS = words("rows prompts texts questions data items")
_AGAINST = words("against versus")
_COMPARED = (("compared", "to"), ("compared", "with"), ("comparison", "to"), ("comparison", "with"))
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


class SlotFiller(NestedSlots):
    """Fills the fields of steps, one clause after another, into one draft."""

    def read(self, match: PhraseMatch, tokens: list[Token]) -> ClauseReading:
        """The clause as a step at the end of the draft."""
        step = self._draft.add(match.skill)
        fields = self._lexicon.fields[match.skill.name]
        clause = ClauseTokens(tokens, set(match.used), match.slots)
        self._places(step, fields, clause)
        self._names(step, fields, clause)
        fill_mappings(step, fields, clause)
        fill_values(step, fields, clause, self._lexicon.known)
        self._mentions(step, fields, clause)
        inner = self._inner_numbers(step, fields, clause)
        self._amounts(step, fields, clause)
        self._row(step, fields, clause)
        self._least_score(step, clause)
        self._texts(step, fields, clause)
        self._nested(step, fields, clause, inner)
        self._left_open(step, fields, clause)
        self._asked(step, fields, clause)
        own = dict(step.arguments)
        if (former := self._former(step, own, fields)) is not None:
            reading = self._accounted(former, match, clause)
        else:
            self._supplies.complete(step)
            reading = self._accounted(step, match, clause)
        reading.own = tuple(own)
        return reading

    def _left_open(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Ask for what is said to be something: "put something new on shop"."""
        for one in fields:
            if not (one.is_required and one.kinds) or one.name in step.arguments:
                continue
            span = [at for at in range(*clause.slots.get(one.name, (0, 0))) if at not in clause.taken]
            keys = [clause.tokens[at].key for at in span]
            if keys[:1] == ["something"] and set(keys[:3]) - {"something"} <= _OTHER | SMALL:
                clause.taken |= {at for at in span[:3] if clause.tokens[at].key in _OTHER | {"something"}}
                step.missing[one.name] = self._supplies.question(one)

    def _former(self, step: StepDraft, own: dict[str, Any], fields: list[FieldWords]) -> StepDraft | None:
        """The step before, where this one only says more of it: "clean x.csv and mask personal data"."""
        place = self._draft.steps.index(step)
        former = self._draft.steps[place - 1] if place else None
        needed = {one.name for one in fields if one.is_required}
        if former is None or former.skill is not step.skill or set(own) & set(former.arguments):
            return None
        if needed & own.keys() and not (former.missing and former.missing.keys() <= own.keys()):
            return None
        former.arguments |= own
        former.missing = {
            name: left for name, left in {**former.missing, **step.missing}.items() if name not in own
        }
        self._draft.steps.remove(step)
        return former

    def amend(self, step: StepDraft, tokens: list[Token]) -> ClauseReading | None:
        """A step with what a few words change of it; None when they change nothing."""
        before = (dict(step.arguments), dict(self._draft.budget))
        gate = step.gate
        fields = [one for one in self._lexicon.fields[step.skill.name]]
        kept, step.arguments = step.arguments, {}
        budget, self._draft.budget = self._draft.budget, {}
        clause = ClauseTokens(tokens, set(), {})
        self._places(step, fields, clause)
        self._names(step, fields, clause)
        fill_values(step, fields, clause, self._lexicon.known)
        if any(one.kind == "ref" or one.is_word for one in tokens):
            self._mentions(step, fields, clause)
        self._amounts(step, fields, clause)
        self._texts(step, [one for one in fields if one.is_endpoint], clause)
        changed = dict(step.arguments)
        step.arguments = {**kept, **changed}
        self._least_score(step, clause)
        self._draft.budget = {**budget, **self._draft.budget}
        if not changed and (step.arguments, self._draft.budget) == before and step.gate == gate:
            return None
        step.missing = {name: one for name, one in step.missing.items() if name not in changed}
        pattern = self._lexicon.patterns[next(iter(self._lexicon.patterns))][0]
        reading = self._accounted(step, PhraseMatch(pattern, frozenset(), {}, 0), clause)
        reading.placed = (*changed, *["gate"] * (step.gate != gate))
        return reading

    def complete(self, step: StepDraft) -> None:
        """Fill what earlier steps or the conversation give; ask for what is needed and not there."""
        self._supplies.complete(step)

    def amend_field(self, step: StepDraft, one: FieldWords, tokens: list[Token]) -> ClauseReading | None:
        """A step with one field filled from an answer; None when the words give it nothing."""
        step.arguments.pop(one.name, None)
        step.missing.pop(one.name, None)
        clause = ClauseTokens(tokens, set(), {one.name: (0, len(tokens))})
        self._places(step, [one], clause)
        self._names(step, [one], clause)
        fill_values(step, [one], clause, self._lexicon.known)
        self._mentions(step, [one], clause)
        self._amounts(step, [one], clause)
        self._texts(step, [one], clause)
        if one.name not in step.arguments:
            return None
        pattern = next(p for found in self._lexicon.patterns.values() for p in found if p.skill is step.skill)
        return self._accounted(step, PhraseMatch(pattern, frozenset(), {}, 0), clause)

    def _mentions(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Artifacts that are pointed at."""
        holds = {one.name for one in fields if one.kinds}
        listed: tuple[FieldWords, int] | None = None  # the list that the artifact before went into, its end
        for mention in mentions_in(
            clause.tokens, clause.taken, self._around, lambda at: bool(clause.slots_at(at) & holds)
        ):
            takers = [
                one
                for one in fields
                if one.kinds and (not mention.kinds or set(mention.kinds) & set(one.kinds))
            ]
            if self._is_field_name(mention, fields, clause):
                clause.take(mention)
                continue
            if mention.which == "ref" and listed and self._is_listed(clause, listed[1], mention.start):
                self._point_too(step, listed[0], mention)
                clause.take(mention)
                listed = listed[0], mention.end
                continue
            one, called_at = clause.called_behind(takers, mention.end)
            clause.taken |= called_at
            one = one or clause.best(takers, mention.start, step)
            if one is None and mention.which == "it":
                one = clause.best([f for f in fields if f.takes_path and f.is_required], mention.start, step)
                path = next((thing for thing in self._at_hand if isinstance(thing, Path)), None)
                if one is not None and path is not None:
                    step.arguments[one.name] = path.as_posix()
                    clause.take(mention)
                continue
            if one is None:
                one = clause.best([f for f in fields if f.kinds and f.is_required], mention.start, step)
            if one is None or not (one.is_required or self._is_meant(one, mention, clause)):
                if mention.which not in ("it", "the"):
                    clause.passed_over |= set(range(mention.start, mention.end))
                continue
            self._point(step, one, mention)
            clause.take(mention)
            listed = (one, mention.end) if one.is_list else None

    @staticmethod
    def _is_listed(clause: ClauseTokens, start: int, end: int) -> bool:
        """Whether nothing but a comma or an "and" stands between two values of a list."""
        between = [token.key for token in clause.tokens[start:end]]
        return bool(between) and set(between) <= {",", "and", "&"}

    def _point_too(self, step: StepDraft, one: FieldWords, mention: Mention) -> None:
        """Add one more artifact to those that a field holds."""
        before = step.arguments.pop(one.name, [])
        self._point(step, one, mention)
        step.arguments[one.name] = [*before, *step.arguments.get(one.name, ())]

    @staticmethod
    def _is_field_name(mention: Mention, fields: list[FieldWords], clause: ClauseTokens) -> bool:
        """Whether it only names a field: "the new data in new.csv", "alarm=..."."""
        span = clause.tokens[mention.start : mention.end]
        keys = tuple(token.key for token in span if token.key not in ARTICLES)
        if [token.key for token in clause.tokens[mention.end : mention.end + 1]] == ["="]:
            return any(keys in one.names for one in fields)
        return any(keys in one.names and not one.kinds for one in fields)

    @staticmethod
    def _is_meant(one: FieldWords, mention: Mention, clause: ClauseTokens) -> bool:
        """Whether a mention stands where an optional field's value would, or is called as the field is."""
        place = mention.start
        if clause.called_behind([one], mention.end)[0] is one:
            return True
        beside = tuple(token.key for token in clause.tokens[max(0, place - 2) : place])
        compared = beside in _COMPARED
        if (compared or (beside[-1:] and beside[-1] in _AGAINST)) and one.kinds and not one.is_list:
            clause.taken |= {place - 2, place - 1} if compared else set()
            return True
        before = [token.key for token in clause.tokens[max(0, place - 2) : place]]
        led = before[-1:] and (
            before[-1] in _WITH | {"from", "to", "like", "versus"}
            or (before[-1] == "of" and before[0] in _ROWS)
        )
        if led and mention.which == "ref" and len(one.kinds) == 1:
            return True  # "... with dataset:1f2e": nothing else takes one
        return one.name in clause.slots_at(place) or clause.is_named(one, place) or one.name in mention.kinds

    def _point(self, step: StepDraft, one: FieldWords, mention: Mention) -> None:
        """Have a field hold what a mention points at, or say what is unclear about it."""
        kinds = tuple(kind for kind in one.kinds if kind in mention.kinds) or one.kinds
        if mention.which == "older":
            given = [value for other in self._draft.steps for value in other.arguments.values()]
            spoken = [*reversed(given), *self._at_hand]
            older = next(filter(None, (self._around.older_than(ref, kinds) for ref in spoken)), None)
            if older is None:
                step.missing[one.name] = self._supplies.question(one)
            else:
                self._supplies.fill(step, one, older)
            return
        if mention.which == "new":
            self._point_new(step, one, kinds)
            return
        if mention.which in ("it", "the", "last") and (found := self._draft.output(kinds, step)) is not None:
            self._supplies.fill(step, one, found[0])
            return
        if mention.which in ("it", "the"):
            if self._supplies.from_arguments(step, one, kinds) or self._supplies.bridged_from_draft(
                step, one
            ):
                return
            if self._supplies.from_at_hand(step, one, kinds):
                return
            if mention.which == "it":
                step.missing[one.name] = self._supplies.question(one)
                return
        wanted = tuple(kind for kind in mention.kinds if kind in one.kinds) or mention.kinds or one.kinds
        if not mention.kinds and mention.which == "last":  # "the latest one", of what was spoken of
            spoken = [thing.kind for thing in self._at_hand if not isinstance(thing, Path)]
            wanted = tuple(kind for kind in spoken[:1] if kind in one.kinds) or wanted
        found_ref = resolve(
            mention, wanted if not mention.kinds else tuple({*wanted}), self._around, self._supplies.best
        )
        if isinstance(found_ref, Unclear):
            step.missing[one.name] = OpenField(found_ref.text, found_ref.choices)
        elif found_ref.kind in one.kinds:
            self._supplies.fill(step, one, str(found_ref))
        elif (made := self._around.made_from(found_ref, one.kinds)) is not None:
            self._supplies.fill(step, one, str(made))
        elif (behind := self._around.behind(found_ref, one.kinds)) is not None:
            self._supplies.fill(step, one, str(behind))
        elif not self._supplies.bridge(step, one, found_ref.kind, str(found_ref)):
            step.missing[one.name] = OpenField(
                f"{found_ref.short} is no {' or '.join(one.kinds)}. Which {called(one)} is meant?",
                tuple(ref.short for kind in one.kinds for ref in self._around.artifacts(kind)[:5]),
            )

    def _point_new(self, step: StepDraft, one: FieldWords, kinds: tuple[str, ...]) -> None:
        """Have a field take "a new engine": what the plan makes before it, or makes for it; else ask."""
        if (found := self._draft.output(kinds, step)) is not None:
            self._supplies.fill(step, one, found[0])
        elif not self._supplies.bridged_from_draft(step, one):
            step.missing[one.name] = self._supplies.question(one)

    def _texts(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """What is left in a phrase's slot, for a name to come or for lists of words."""
        for one in fields:
            if one.name in step.arguments:
                continue
            if one.is_endpoint:
                self._new_endpoint(step, one, clause)
            elif one.name in clause.slots and one.takes_text and not one.kinds and not one.is_suite:
                self._slot_text(step, one, clause)

    def _new_endpoint(self, step: StepDraft, one: FieldWords, clause: ClauseTokens) -> None:
        start, end = clause.slots.get(one.name, (0, 0))
        keys = [token.key for token in clause.tokens]
        named = [at + 1 for at, key in enumerate(keys[:-1]) if key in ("endpoint", "as", "called", "named")]
        for at in (*named, *range(start, end)):
            token = clause.tokens[at]
            name = token.text.lower()
            if at in clause.taken or token.kind not in ("word", "quoted") or not _NAME.fullmatch(name):
                continue
            if token.key in SMALL | PREPOSITIONS | ARTICLES or token.key in self._lexicon.known:
                continue
            led = (
                at in named
                or at - 1 in clause.literal
                or keys[at - 1] in PREPOSITIONS | ARTICLES | {"=", ":"}
            )
            if keys[at + 1 : at + 2] == ["of"] or not led:
                continue  # "in front of it", "deploy it quickly"
            near = [known for key, known in self._around.endpoints.items() if is_typo_of(token.key, key)]
            made = any(other.kinds and other.is_required for other in self._lexicon.fields[step.skill.name])
            if not near and not made and self._around.endpoints:
                step.missing[one.name] = OpenField(
                    f"There is no endpoint '{name}'. Which one is meant?",
                    tuple(self._around.endpoints.values()),
                )
                clause.taken.add(at)
                return
            clause.taken.add(at)
            if near:
                step.missing[one.name] = OpenField(
                    f"There is no endpoint '{name}'. Do you mean {near[0]}?", tuple(near)
                )
            else:
                step.arguments[one.name] = name
            return

    def _slot_text(self, step: StepDraft, one: FieldWords, clause: ClauseTokens) -> None:
        start, end = clause.slots[one.name]
        quoted = [at for at in range(start, end) if clause.tokens[at].kind == "quoted"]
        if len(quoted) == 1 and not one.is_list and quoted[0] not in clause.taken:
            start, end = quoted[0], quoted[0] + 1  # what is quoted is the text, not what leads to it
        about = [at for at in range(start, end) if clause.tokens[at].key == "about"]
        if (
            one.is_list
            and about
            and not {token.key for token in clause.tokens[start : about[-1]]} & {",", "and"}
        ):
            clause.taken |= set(range(start, about[-1] + 1))  # "keep people from asking about ..."
            start = about[-1] + 1
        parts: list[str] = []
        for at in range(start, end):
            token = clause.tokens[at]
            if at in clause.taken or token.kind == "end":
                continue
            clause.taken.add(at)
            if one.is_list and parts and parts[-1] == "" and token.key in _SETS:
                clause.taken.remove(at)
                break  # "..., and let a text have 800 characters" says more of it
            if one.is_list and token.key in _BOUNDS and at + 1 in clause.taken:
                continue
            if (not parts and token.key in ("of", "to", "=", ":", "like", "about")) or token.key in _POLITE:
                continue
            if token.key in ("and", "or", ",") or token.kind == "mark":
                parts.append("")
            elif token.key not in ARTICLES:
                parts = [*(parts[:-1] or []), f"{parts[-1] if parts else ''} {token.text}".strip()]
        values = [part for part in parts if part]
        if values:
            step.arguments[one.name] = values if one.is_list else " ".join(values)

    def _asked(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Ask for what a clause names and gives no value: where the default is not meant, or an artifact."""
        keys = {t.key for at, t in enumerate(clause.tokens) if at in clause.literal or at not in clause.taken}
        free = {token.key for at, token in enumerate(clause.tokens) if at not in clause.taken}
        for one in fields:
            if one.name in step.arguments or one.is_required:
                continue
            if self._is_set_to_nothing(one, clause):
                step.missing[one.name] = OpenField(f"Which {called(one)}?", one.plain_values[:8])
            elif one.is_asked and any(set(name) <= keys for name in one.names):
                step.missing[one.name] = OpenField(f"Which {called(one)}?")
            elif one.kinds and one.name in free and one.name not in step.missing and not self._made_as(one):
                refs = tuple(ref.short for kind in one.kinds for ref in self._around.artifacts(kind)[:4])
                step.missing[one.name] = OpenField(f"Which {one.kinds[0]} as {called(one)}?", refs)

    def _made_as(self, one: FieldWords) -> bool:
        """Whether an earlier step of the draft is named as the field is, and gives what it takes."""
        return any(
            step.skill.name.replace("-", "_") == one.name
            and any(kind in one.kinds for _, kind in step.outputs())
            for step in self._draft.steps
        )

    @staticmethod
    def _is_set_to_nothing(one: FieldWords, clause: ClauseTokens) -> bool:
        """Whether a name stands before a "=" behind which nothing is: "seed="."""
        keys = [token.key for token in clause.tokens]
        ends = [at for at, key in enumerate(keys) if key == "=" and keys[at + 1 : at + 2] in ([], [","])]
        return any(tuple(keys[max(0, at - len(name)) : at]) == name for at in ends for name in one.names)

    def _accounted(self, step: StepDraft, match: PhraseMatch, clause: ClauseTokens) -> ClauseReading:
        return accounted(ClauseReading(step, match), clause, self._lexicon, self._around)
