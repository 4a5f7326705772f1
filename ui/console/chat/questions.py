"""Questions in plain words: answered from the memory, each passage with a link to its record or page."""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING

from ....agents.memory import MemoryIndex, QuestionFilters, answer
from ....agents.memory.facts import fact_finder, is_of_another_time
from ....agents.memory.writer import AnswerWriter
from . import blocks

if TYPE_CHECKING:
    from ....agents.planner import RecordAnswer
    from ....core.registry import Registry
    from ....core.workspace import Workspace

_SHOWN_CHARS = 400
_PASSAGES = 5
_QUESTION = re.compile(
    r"(what|which|who|whose|when|where|why|how|is|are|was|were|did|does|do|has|have|can"
    r"|waht|whta|wat|wich|whcih|whihc|whic|whne|wehn|wen|wher|wehre|hwo|hw|woh|hwy|wyh)\b",
    re.I,
)
_ROW = re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.M)
_MARKS = (  # of Markdown, and what is shown of them in running words
    (re.compile(r"^[ \t]*(```.*|\|[ \t|:-]+\|)[ \t]*$", re.M), ""),
    (re.compile(r"\[([^\]\n]+)\]\([^)\s]+\)"), r"\1"),
    (re.compile(r"\*\*|`"), ""),
)


def is_question(text: str) -> bool:
    """Whether a text asks something: it ends with a question mark, of any script, or begins as one does.

    The first word may be misspelt as people who type fast do.
    """
    return (
        text.rstrip().endswith(("?", "\uff1f", "\u061f", "\u055e"))
        or _QUESTION.match(text.strip()) is not None
    )


def in_running_words(markdown: str) -> str:
    """A section of the documentation without its Markdown: a table's rows as sentences, a link's text."""
    for mark, shown in _MARKS:
        markdown = mark.sub(shown, markdown)
    markdown = _ROW.sub(lambda row: f"{': '.join(_cells(row[1]))};", markdown)
    return " ".join(markdown.split())


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.replace("\\|", "or").split("|") if cell.strip()]


class ChatQuestions:
    """Answers for one console; the index stays open between questions."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace = workspace
        self._registry = registry
        self._index = MemoryIndex(workspace)
        self._is_spared = False

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def _spare_the_collector(self) -> None:
        """Once all is loaded that answers take, have no collection look at it: one is 0.2 s."""
        if not self._is_spared:
            self._is_spared = True
            gc.collect()
            gc.freeze()

    def is_of_another_time(self, text: str, found: RecordAnswer) -> bool:
        """Whether the question names a time and this is not of it."""
        return is_of_another_time(text, found, self._workspace)

    def answer(self, text: str) -> list[blocks.Block]:
        """Facts, what a model wrote where one is set, then the passages; errors as of `answer`."""
        settings = self._workspace.settings.memory
        writer = AnswerWriter(settings.writer) if settings.writer is not None else None
        facts = fact_finder(self._workspace, self._registry)
        found = answer(text, QuestionFilters(), self._index, _PASSAGES, facts, writer)
        self._spare_the_collector()
        notes = list(found.notes)
        shown: list[blocks.Block] = [blocks.text(notes.pop(0), "warn")] if found.nothing and notes else []
        for fact in found.facts:
            shown.append(blocks.text(fact.text))
            shown += [blocks.link(f"record {seq}", f"/ledger?seq={seq}") for seq in fact.records]
        if found.written_by:
            shown.append(blocks.text(f"{found.text} (written by {found.written_by} from the passages)"))
        for one in found.passages:
            passage = one.passage
            text = passage.text if passage.seq else in_running_words(passage.text)
            words = text[:_SHOWN_CHARS] + ("…" if len(text) > _SHOWN_CHARS else "")
            cited = f"record {passage.seq}" if passage.seq else "open"
            shown.append(blocks.passage(f"[{one.number}] {passage.title}", words, cited, one.link))
        return shown + [blocks.text(note, "warn") for note in notes]
