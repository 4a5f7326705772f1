"""Plain facts: what the record answers for certain, without a passage being searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.errors import OpswrightError
from ..planner import PHRASES, Ask, RecordAnswer, propose
from .answer import Fact, FactFinder

if TYPE_CHECKING:
    from ...core.registry import Registry
    from ...core.workspace import Workspace

_NO_FACT = "help"  # what can be asked is in the docs


def fact_finder(workspace: Workspace, registry: Registry) -> FactFinder:
    """Who knows what is served, who approved what, why something was refused: as the chat answers it."""

    def find(question: str) -> Sequence[Fact]:
        try:
            reply = propose(Ask(PHRASES, question), registry, workspace)
        except OpswrightError as error:
            return (Fact(f"The record could not be asked: {error}"),)
        if not isinstance(reply, RecordAnswer) or reply.about == _NO_FACT:
            return ()
        return (Fact(reply.text, reply.records),)

    return find
