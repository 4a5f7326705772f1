"""The memory: questions about this workspace and the docs, answered with passages that cite the ledger."""

from .answer import Citation, CitedAnswer, Fact, answer
from .index import MemoryIndex
from .passages import KINDS, Passage
from .question import QuestionFilters

__all__ = ["KINDS", "Citation", "CitedAnswer", "Fact", "MemoryIndex", "Passage", "QuestionFilters", "answer"]
