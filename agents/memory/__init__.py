"""The memory: questions about this workspace and the docs, answered with passages that cite the ledger."""

from .answer import Answer, Citation, Fact, answer
from .index import MemoryIndex
from .passages import KINDS, Passage
from .question import QuestionFilters

__all__ = ["KINDS", "Answer", "Citation", "Fact", "MemoryIndex", "Passage", "QuestionFilters", "answer"]
