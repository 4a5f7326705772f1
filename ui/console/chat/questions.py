"""Questions in plain words: answered from the memory, each passage with a link to its record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ....agents.memory import MemoryIndex, QuestionFilters, answer
from ....agents.memory.facts import fact_finder
from ....agents.memory.writer import AnswerWriter
from . import blocks

if TYPE_CHECKING:
    from ....core.registry import Registry
    from ....core.workspace import Workspace

_SHOWN_CHARS = 400
_PASSAGES = 5
_QUESTION = re.compile(
    r"(what|which|who|whose|when|where|why|how|is|are|was|were|did|does|do|has|have|can)\b", re.I
)


def is_question(text: str) -> bool:
    """Whether a text asks something: it ends with a question mark, of any script, or begins as one does."""
    return (
        text.rstrip().endswith(("?", "\uff1f", "\u061f", "\u055e"))
        or _QUESTION.match(text.strip()) is not None
    )


class ChatQuestions:
    """Answers for one console; the index stays open between questions."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace = workspace
        self._registry = registry
        self._index = MemoryIndex(workspace)

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def answer(self, text: str) -> list[blocks.Block]:
        """Facts, what a model wrote where one is set, then the passages; errors as of `answer`."""
        settings = self._workspace.settings.memory
        writer = AnswerWriter(settings.writer) if settings.writer is not None else None
        facts = fact_finder(self._workspace, self._registry)
        found = answer(text, QuestionFilters(), self._index, _PASSAGES, facts, writer)
        notes = list(found.notes)
        shown: list[blocks.Block] = [blocks.text(notes.pop(0), "warn")] if found.nothing and notes else []
        for fact in found.facts:
            shown.append(blocks.text(fact.text))
            shown += [blocks.link(f"record {seq}", f"/ledger?seq={seq}") for seq in fact.records]
        if found.written_by:
            shown.append(blocks.text(f"{found.text} (written by {found.written_by} from the passages)"))
        for one in found.passages:
            passage = one.passage
            words = passage.text[:_SHOWN_CHARS] + ("…" if len(passage.text) > _SHOWN_CHARS else "")
            link = (f"record {passage.seq}", one.link) if one.link else ("", "")
            shown.append(blocks.passage(f"[{one.number}] {passage.title}", words, *link))
        return shown + [blocks.text(note, "warn") for note in notes]
