"""An answer: the plain facts of the record first, then the passages that were found, each with its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import OpswrightError
from .coverage import missing
from .field_words import recorded_words
from .index import Found, MemoryIndex
from .passages import Passage
from .question import QuestionFilters, checked_question, prefers
from .said_times import said_time
from .writer import AnswerWriter

_MOST = 50
_EMPTY = (
    "Nothing is recorded in this workspace yet: no run was planned here. `opswright demo` shows a whole "
    "loop, `opswright init FILE` begins with your data."
)
_ONLY_DOCS = "What is below is documentation, not what happened."


@dataclass(frozen=True)
class Fact:
    """What the record says for certain, and the records that say it."""

    text: str
    records: tuple[int, ...] = ()


FactFinder = Callable[[str], Sequence[Fact]]
"""Facts that answer a question exactly; none where it asks for something else."""


@dataclass(frozen=True)
class Citation:
    """A passage by the number it is cited with."""

    number: int
    passage: Passage

    @property
    def link(self) -> str:
        """Where the console shows what it cites: the record, or the section of the documentation."""
        passage = self.passage
        if passage.seq:
            return f"/ledger?seq={passage.seq}"
        return f"/{passage.source}{f'#{passage.anchor}' if passage.anchor else ''}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        passage = self.passage
        return {
            "number": self.number,
            "type": passage.kind,
            "record": passage.seq or None,
            "run": passage.run or None,
            "endpoint": passage.endpoint or None,
            "title": passage.title,
            "text": passage.text,
            "open": passage.source,
            "link": self.link,
        }


@dataclass(frozen=True)
class CitedAnswer:
    """What was asked, what is known for certain, and the passages nearest to it.

    text: facts, or what a model wrote from the passages alone; empty where the passages are the answer.
    nothing: no fact is known, and the passages do not speak of what was asked, so they are only the nearest;
    or no run is recorded at all. The first note says which.
    """

    question: str
    text: str
    facts: tuple[Fact, ...]
    passages: tuple[Citation, ...]
    notes: tuple[str, ...] = ()
    written_by: str = ""
    nothing: bool = False

    @property
    def records(self) -> tuple[int, ...]:
        """The ledger records that are cited, in the order in which they are shown."""
        told = [seq for fact in self.facts for seq in fact.records]
        return tuple(dict.fromkeys([*told, *(one.passage.seq for one in self.passages if one.passage.seq)]))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "question": self.question,
            "answer": self.text,
            "written_by": self.written_by or None,
            "nothing_recorded": self.nothing,
            "facts": [{"text": fact.text, "records": list(fact.records)} for fact in self.facts],
            "records": list(self.records),
            "passages": [one.document() for one in self.passages],
            "notes": list(self.notes),
        }


def answer(
    question: str,
    filters: QuestionFilters,
    index: MemoryIndex,
    k: int = 5,
    facts: FactFinder | None = None,
    writer: AnswerWriter | None = None,
) -> CitedAnswer:
    """Answer a question about the workspace from what is recorded and documented, and from nothing else.

    facts: who knows what the record says for certain; theirs come first. writer: who writes an answer from
    the passages; what it writes is kept only where it cites them, and the passages are given either way.
    Errors as of `MemoryIndex.search`.
    """
    text = checked_question(question)
    known = tuple(facts(text)) if facts is not None else ()
    found, of_time = _found(text, filters, index, max(1, min(k, _MOST)))
    cited = tuple(Citation(number, passage) for number, passage in enumerate(found.passages, 1))
    notes, written, by = list(found.notes), " ".join(fact.text for fact in known), ""
    if writer is not None and cited:
        try:
            reply = writer.write(text, [fact.text for fact in known], [one.passage for one in cited])
        except OpswrightError as error:
            notes.append(f"No answer was written: {error}")
        else:
            if reply.text:
                written, by = reply.text, writer.name
            else:
                notes.append(f"{writer.name} wrote no answer that can be shown: {reply.refused}")
    is_empty = found.is_empty and prefers(text) != "docs" and filters.may_be_record
    lacks = f"{_EMPTY} {_ONLY_DOCS if cited else ''}".strip() if is_empty else _lacks(text, cited, of_time)
    nothing = (is_empty or not known) and not by and lacks != ""
    if nothing:
        notes.insert(0, lacks)
    return CitedAnswer(text, written, known, cited, tuple(notes), by, nothing)


def _found(text: str, filters: QuestionFilters, index: MemoryIndex, k: int) -> tuple[Found, str]:
    """The passages nearest; of a time that the question names, those of that time, where there are any.

    Beside them the words of the question for that time, where the passages are of it.
    """
    said = said_time(text) if filters.since is None and filters.until is None else None
    if said is None or prefers(text) == "docs" or not filters.may_be_record:
        return index.search(text, filters, k), ""
    found = index.search(text, replace(filters, since=said.since, until=said.until), k)
    until = f" to {said.until[:16]}" if said.until else ""
    when = f"'{said.words}' ({said.since[:16]}{until} UTC)"
    if found.passages:
        note = f"Only what was recorded {when} was searched."
        return replace(found, notes=(*found.notes, note)), said.words
    found = index.search(text, filters, k)
    note = f"Nothing was recorded {when}; these are of other times."
    return replace(found, notes=(*found.notes, note)), ""


def _lacks(question: str, cited: Sequence[Citation], of_time: str = "") -> str:
    """Why the passages do not answer a question; empty where they may.

    A question about what happened is not answered by what the documentation says. of_time: the question's
    words for the time that the passages are of; whatever was recorded then is what happened.
    """
    if not cited:
        return "Nothing recorded answers this: no passage was found. Ask with other words, or fewer filters."
    happened = prefers(question) == "record"
    texts = [one.passage.indexed for one in cited if one.passage.seq or not happened]
    if of_time:
        told = rf"{re.escape(of_time)}|\bhappen(?:ed|ing|s)?\b"
        question = re.sub(told, " ", " ".join(question.split()), flags=re.IGNORECASE)
    found = missing(question, texts)
    if not found.names and recorded_words(question) and not missing(recorded_words(question), texts).is_much:
        return ""  # they speak of it in the words of the record
    if not found.is_much:
        return ""
    words = ", ".join(f"'{word[:60]}'" for word in (found.names or found.words)[:4])
    return f"Nothing recorded answers this: no passage speaks of {words}. Below is only what is nearest."
