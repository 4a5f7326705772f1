"""What keeps a message from being acted on: cues, quotations, commands inside, what is taken back."""

# quotation marks of every kind are what it is about
from __future__ import annotations

import re
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path

from ....core.contract import Effect
from .clauses import Clause, own_words_of
from .mappings import is_named_mapping
from .message import Message
from .phrase_patterns import PhraseMatch
from .text import shown, words
from .word_values import flag_said
from .words import SMALL, cues_in, without_manners

SPOKEN = ("word", "number", "end", "mark")
ASKING = words("how is are would which what does do show who")
_DETERMINERS = words("the our my your his her their this that a")
_FINITE = words(
    "was were is took takes went goes cost costs had has failed fails worked works broke happened ended"
)
_MODAL = words("can could may might should must need will would have are please know do want")
_PRAISE = re.compile(
    r"(?:(?:great|good|nice|excellent|brilliant|amazing) (?:job|work) (?:on|with)"
    r"|(?:well done|kudos|congrats|congratulations|thanks|thank you) (?:on|for|with)) "
)
_MARKUP = '"“”„«»`<[]{}|'  # that no pair of which makes a quotation


def tells(keys: list[str], gerunds: Collection[str]) -> str:
    """The words by which a message tells of what is or was done; empty where it may be a wish.

    "The training of tiny took ages", "to train it costs too much", "you trained it?", "great job on it".
    """
    clause = list(takewhile(lambda key: len(key) > 1 or key.isalnum(), keys))
    rest = clause[1:] if clause and clause[0] in _DETERMINERS else clause
    is_thing = bool(rest) and (rest[0] in gerunds or clause[0] == "to")
    if is_thing and any(key in _FINITE for key in rest[1:]):
        return " ".join(clause)
    if len(keys) > 2 and keys[0] == "you" and keys[-1] == "?" and keys[1] not in _MODAL:
        return " ".join(keys)
    is_all = len(clause) >= len(keys) - 1
    return " ".join(clause) if is_all and _PRAISE.match(" ".join(clause)) else ""


class MessageCues(Message):
    """One message, and what of it says that nothing is to be done."""

    def cues(self, clauses: list[Clause]) -> dict[str, str]:
        """What keeps the message from being a wish; a phrase of a skill is never a cue by its own words."""
        softly = not self._serves(clauses)
        told = tells(self.keys, self.lexicon.gerunds.keys())
        found = cues_in(self._keys_of_words(), softly=softly) | ({"told": told} if told else {})
        if not found:
            return found
        own = own_words_of(clauses, self.lexicon)
        others = ["_" if id(t) in own or t.kind not in SPOKEN else t.key for t in self.tokens]
        wished = [self.lexicon.matches(one.tokens) for one in clauses if one.kind == "wish"]
        is_one = len({found[0].skill.name for found in wished if found}) == 1
        excused = {"reported", *["destructive"] * is_one, *["hypothetical"] * softly} - cues_in(
            others, softly=softly
        ).keys()
        return {reason: said for reason, said in found.items() if reason not in excused}

    def _serves(self, clauses: list[Clause]) -> bool:
        """Whether any place of a clause, wish or not, names a skill that changes what users get."""
        starts = (clause.whole[at:] for clause in clauses for at in range(len(clause.whole)))
        return any(
            match.skill.effect is Effect.SERVES for start in starts for match in self.lexicon.matches(start)
        )

    def taken_back(self, clauses: list[Clause]) -> str:
        """What takes the wishes before it back without naming any of its own: "no wait, don't"."""
        began = False
        for clause in clauses:
            began = began or clause.kind == "wish"
            own = any(
                token.key in (self.lexicon.heads | self.lexicon.gerunds.keys()) - SMALL
                for token in clause.tokens
            )
            wished = [self.lexicon.matches(one.tokens)[0].skill.name for one in clauses if one.kind == "wish"]
            switches = any(flag_said(clause.whole, self.lexicon.fields[name]) for name in wished)
            if began and clause.kind == "negated" and not own and not switches:
                return shown(clause.whole)
        return ""

    def _keys_of_words(self) -> list[str]:
        """What cues are looked for in: words alone, a path or a quotation stands for itself."""
        return [token.key if token.kind in SPOKEN else "_" for token in self.tokens]

    def asks_outright(self) -> PhraseMatch | None:
        """The phrase that a question is, where a skill declares it as its own and serves nothing."""
        rest = self.tokens[without_manners(self.keys, lambda place: 0.0) :]
        matches = self.lexicon.matches(rest) if rest and rest[0].key in ASKING else []
        is_own = bool(matches) and matches[0].score >= 4 and matches[0].skill.effect is not Effect.SERVES
        return matches[0] if is_own else None

    def command_inside(self) -> str | None:
        """The example of a command that stands within the message."""
        for token in self.tokens:
            name = token.text.lower().lstrip("/")
            if token.kind == "path" and token.text.startswith("/") and name in self.registry:
                return self.registry.get(name).example
        return None

    def quotes_something(self) -> bool:
        """Whether a sentence, or a word that tells what to do, is quoted; or there is markup."""
        texts = self._texts_asked_for() | self._texts_set()
        for at, token in enumerate(self.tokens):
            if token.kind != "quoted" or Path(token.text[:200]).exists() or at in texts:
                continue
            inner = self.lexicon.read(token.text, self.around.names)
            if len(inner) > 3 or any(one.key in self.lexicon.heads for one in inner):
                return True
        names = self.lexicon.mapping_names
        return any(
            (token.kind == "mark" and token.text in _MARKUP)
            or (token.kind == "mapping" and not is_named_mapping(self.tokens, at, names))
            for at, token in enumerate(self.tokens)
        )

    def _texts_set(self) -> set[int]:
        """The places of quotations that a field of text is set to: "probes='hello', 'cancel my order'"."""
        found: set[int] = set()
        for at, token in enumerate(self.tokens):
            before = at - 1
            while before > 0 and (before in found or self.keys[before] == ","):
                before -= 1
            names = [tuple(self.keys[max(0, before - size) : before]) for size in (1, 2, 3)]
            is_set = before > 0 and self.keys[before] == "=" and bool(self.lexicon.text_names & set(names))
            if token.kind == "quoted" and is_set:
                found.add(at)
        return found

    def _texts_asked_for(self) -> set[int]:
        """The places of quotations that a skill which only reads takes as its text: "rows like '...'"."""
        for start in range(len(self.tokens)):
            for match in self.lexicon.matches(self.tokens[start:])[:1]:
                fields = {one.name for one in self.lexicon.fields[match.skill.name] if one.takes_text}
                spans = [span for name, span in match.slots.items() if name in fields]
                if spans and match.score >= 4 and match.skill.effect is Effect.READS:
                    return {start + at for span in spans for at in range(*span)}
        return set()
