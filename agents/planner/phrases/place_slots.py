"""Files, folders, suites and endpoints of one clause, into the fields of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .clause_tokens import ClauseTokens
from .drafts import PlanDraft, StepDraft
from .fields import FieldWords, field_words, is_of
from .lexicon import DESCRIBING, Lexicon
from .mentions import Mention, mentions_in
from .supplies import Supplies
from .surroundings import Surroundings
from .text import key_of_word, words
from .words import PREPOSITIONS, SMALL

_FOLDER = words("folder directory dir")


class PlaceSlots:
    """Fills what is named by itself: paths and addresses, suites, endpoints, files and folders."""

    def __init__(
        self,
        lexicon: Lexicon,
        around: Surroundings,
        draft: PlanDraft,
        at_hand: list[Any],
        told: Sequence[str] = (),
    ) -> None:
        self._lexicon = lexicon
        self._around = around
        self._draft = draft
        self._at_hand = at_hand  # what "it" may be besides: references and paths, the last spoken of first
        self._supplies = Supplies(lexicon, around, draft, at_hand)
        self._supplies.told = list(told)
        self._spans: tuple[frozenset[int], list[Mention]] | None = None  # by what was taken then

    def _places(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Paths, addresses, and quoted names of files."""
        for at, token in enumerate(clause.tokens):
            if at in clause.taken or token.kind not in ("path", "address", "quoted"):
                continue
            if token.kind == "quoted" and not Path(token.text).exists():
                continue
            own = [one for one in fields if one.own_text is not None and clause.is_named(one, at)]
            if token.kind == "address" and own and is_of(token.text, own[0].own_text or str):
                step.arguments[own[0].name] = token.text
                clause.taken |= {at} | clause.name_beside(own[0], at)
                continue
            is_yaml = token.text.endswith((".yaml", ".yml"))
            takers = [
                one for one in fields if (one.is_suite if is_yaml else one.takes_path and not one.is_suite)
            ]
            if token.kind == "address":
                if self._is_inside(clause, at, fields):
                    continue
                takers += [
                    one for one in fields if one.takes_text and one.is_required and not one.is_endpoint
                ]
            found = clause.best(takers, at, step)
            slotted = [
                one for one in fields if one.name in clause.slots_at(at) and one.is_required and one.kinds
            ]
            is_free = found is not None and not found.is_required and not clause.is_named(found, at)
            is_free = is_free and not (is_yaml and found is not None and found.name == "suite")
            needs = any(one.is_required for one in fields)
            meant = found is not None and (found.name in clause.slots_at(at) or found.is_required)
            if is_free and ((slotted and found not in slotted) or (needs and not meant)):
                found = None  # it is what the phrase's own slot is made from
            if found is not None:
                step.arguments[found.name] = [token.text] if found.is_list else token.text
                clause.taken.add(at)
                continue
            holders = [one for one in fields if one.kinds]
            meant_for = [
                one
                for one in holders
                if one.is_required or one.name in clause.slots_at(at) or clause.is_named(one, at)
            ]
            taker = clause.best(meant_for, at, step)
            if taker is not None and not is_yaml and self._supplies.bridge(step, taker, "", token.text):
                clause.taken.add(at)

    def _names(self, step: StepDraft, fields: list[FieldWords], clause: ClauseTokens) -> None:
        """Suites, endpoints and files that a word names."""
        self._spans = None  # of another clause
        nested = [
            inner for one in fields if one.model and one.is_required for inner in field_words(one.model)
        ]
        for at, token in enumerate(clause.tokens):
            if at in clause.taken or token.kind not in ("word", "quoted"):
                continue
            key = key_of_word(token.text) if token.kind == "quoted" else token.key
            key = key if key in self._around.names else key_of_word(token.text)
            options: list[tuple[FieldWords, Any]] = []
            if key in self._around.suites:
                suite = self._around.suites[key]
                options += [
                    (one, suite if one.takes_path else Path(suite).stem) for one in fields if one.is_suite
                ]
            if key in self._around.endpoints and not self._of_release(clause, at):
                options += [(one, self._around.endpoints[key]) for one in fields if one.is_endpoint]
            path = self._around.files.get(key) if self._is_file(clause, at) else None
            if path is None and self._is_folder(clause, at, fields):
                options += [
                    (one, self._around.folders[key]) for one in fields if one.takes_path and not one.is_suite
                ]
            if path is not None and not any(one.is_suite for one in nested):
                options += [
                    (one, path) for one in fields if one.takes_path and one.is_required and not one.is_suite
                ]
            found = clause.best([one for one, _ in options], at, step)
            if found is None:
                if (
                    path is not None
                    and clause.slots_at(at)
                    and self._file_for_kind(step, fields, at, path, clause)
                ):
                    clause.taken.add(at)
                continue
            step.arguments[found.name] = next(value for one, value in options if one is found)
            clause.taken.add(at)

    @staticmethod
    def _is_inside(clause: ClauseTokens, at: int, fields: list[FieldWords]) -> bool:
        """Whether an address is named as a field of a request within the request: "gateway_image gw:7"."""
        nested = [one.model for one in fields if one.model is not None]
        inner = [w for model in nested for w in field_words(model) if w.takes_text and w.is_required]
        if any(clause.is_named(one, at) for one in fields):
            return False
        return any(clause.is_named(one, at) for one in inner)

    @staticmethod
    def _is_file(clause: ClauseTokens, at: int) -> bool:
        """Whether a word that a file is called by names it: not "new" in "a new one"."""
        keys = [token.key for token in clause.tokens]
        behind = keys[at + 1] if at + 1 < len(keys) and clause.tokens[at + 1].is_word else ""
        return not (keys[at] in DESCRIBING and (keys[at - 1 : at] in (["a"], ["the"]) or behind == "one"))

    def _of_release(self, clause: ClauseTokens, at: int) -> bool:
        """Whether an endpoint's name says whose release is meant, where another endpoint is named too."""
        keys = [token.key for token in clause.tokens]
        others = [n for n, key in enumerate(keys) if key in self._around.endpoints and n != at]
        if not others:
            return False
        return any(one.start <= at < one.end and one.endpoint for one in self._mentioned(clause))

    def _mentioned(self, clause: ClauseTokens) -> list[Mention]:
        """Every mention in the clause, looked for anew only where more was taken since."""
        taken = frozenset(clause.taken)
        if self._spans is None or self._spans[0] != taken:
            self._spans = taken, mentions_in(clause.tokens, clause.taken, self._around)
        return self._spans[1]

    def _is_folder(self, clause: ClauseTokens, at: int, fields: list[FieldWords]) -> bool:
        """Whether a word names a folder: beside that word, or where nothing but a path can stand."""
        keys = [token.key for token in clause.tokens]
        if keys[at] not in self._around.folders:
            return False
        set_to = [one for one in fields if one.takes_path and not one.is_suite and clause.is_named(one, at)]
        if at and keys[at - 1] in ("=", ":") and set_to:
            return True
        if any((keys[at],) in one.names for one in fields):
            return False
        beside = {*keys[max(0, at - 1) : at], *keys[at + 1 : at + 2]} & _FOLDER
        alone = (
            at == len(keys) - 1 or not clause.tokens[at + 1].is_word or keys[at + 1] in SMALL | PREPOSITIONS
        )
        led = at > 0 and (at - 1 in clause.literal or keys[at - 1] in ("in", "from"))
        return bool(beside) or (led and alone)

    def _file_for_kind(
        self, step: StepDraft, fields: list[FieldWords], at: int, path: str, clause: ClauseTokens
    ) -> bool:
        """The file becomes a dataset first: "train on tickets"."""
        taker = next((one for one in fields if one.name in clause.slots_at(at) and one.kinds), None)
        return (
            taker is not None
            and taker.name not in step.arguments
            and self._supplies.bridge(step, taker, "", path)
        )
