"""Which of the phrases that fit a clause is meant; a question where two skills fit as well."""

from __future__ import annotations

from pathlib import Path

from ..base import Question
from .clauses import Clause
from .drafts import PlanDraft, command_of, from_document
from .mentions import Unclear, mentions_in, resolve
from .message_cues import MessageCues
from .phrase_patterns import PhraseMatch
from .slots import SlotFiller
from .text import Token, key_of_word

_MOST_TRIED = 120  # words of a clause that is read by each of a skill's phrases in turn


class PhraseChoice(MessageCues):
    """One message, and what its clauses are read as."""

    def _chosen(self, matches: list[PhraseMatch], clause: Clause) -> PhraseMatch | Question:
        """The reading that fits best; a question where two fit as well."""
        close = [match for match in matches if match.score >= matches[0].score - 0.5]
        if len(close) == 1:
            return matches[0]
        tried = []
        for match in close:
            filler = SlotFiller(self.lexicon, self.around, PlanDraft(), self.before.at_hand)
            reading = filler.read(match, clause.tokens)
            wrong = 2 * len(reading.unused) + len(reading.unknown) + len(reading.step.missing)
            tried.append((wrong, match, reading))
        tried.sort(key=lambda one: one[0])
        if tried[0][0] < tried[1][0]:
            return tried[0][1]
        named = [match for wrong, match, _ in tried if wrong == tried[0][0] and _is_called(match)]
        if len(named) == 1:
            return named[0]
        commands = tuple(command_of(reading.step) for wrong, _, reading in tried if wrong == tried[0][0])
        names = " or ".join(f"/{match.skill.name}" for wrong, match, _ in tried if wrong == tried[0][0])
        return Question(f"This reads as {names}. Which one is meant?", commands)

    def _worded(self, match: PhraseMatch, tokens: list[Token]) -> PhraseMatch:
        """Of the phrases of one skill that fit, the one that leaves the fewest words over.

        Of a clause that is very long, the one that fits best by itself.
        """
        if len(tokens) > _MOST_TRIED:
            return match
        every = [one for one in self.lexicon.every_match(tokens) if one.skill is match.skill]
        best, fewest = match, self._left_over(match, tokens) if len(every) > 1 else 0
        for one in every:
            if not fewest:
                break
            if one is not match and (left := self._left_over(one, tokens)) < fewest:
                best, fewest = one, left
        return best

    def _left_over(self, match: PhraseMatch, tokens: list[Token]) -> int:
        """How much of a clause a phrase leaves unplaced: values twice as much as words."""
        draft = from_document(self.draft.document(""), self.registry)
        reading = SlotFiller(self.lexicon, self.around, draft, self.before.at_hand).read(match, tokens)
        return 2 * len(reading.unused) + len(reading.unknown)

    def _said_there(self, clauses: list[Clause]) -> list[str]:
        """The words of what was asked before, where these point at its place: "promote it there"."""
        found = [self.lexicon.matches(clause.tokens)[0].skill for clause in clauses if clause.kind == "wish"]
        needed = [{one.name for one in self.lexicon.fields[one.name] if one.is_required} for one in found]
        points = {"there", "here"} & set(self.keys) or (
            {"it", "that", "this"} & set(self.keys) and all(names == {"endpoint"} for names in needed)
        )
        if not points:
            return []
        turns = [turn.text for turn in reversed(self.conversation) if turn.speaker == "user"]
        for said in [self.before.said, *(turns[1:2] if "there" in self.before.said.lower() else [])]:
            keys = [token.key for token in self.lexicon.read(said, self.around.names)]
            if set(keys) & self.around.endpoints.keys():
                return keys
        return []

    def _spoken_of(self, clauses: list[Clause]) -> list[object]:
        """Files and artifacts that were told of before what to do with them."""
        found: list[object] = []
        for clause in clauses:
            if clause.kind != "told":
                continue
            found += [Path(token.text) for token in clause.whole if token.kind == "path"]
            for mention in mentions_in(clause.whole, set(), self.around):
                if mention.which not in ("it", "the", "best"):
                    ref = resolve(mention, mention.kinds, self.around, lambda kinds: None)
                    found += [] if isinstance(ref, Unclear) else [ref]
        return found[::-1]


def _is_called(match: PhraseMatch) -> bool:
    """Whether the phrase begins with the skill's own name."""
    return match.pattern.head == key_of_word(match.skill.name)
