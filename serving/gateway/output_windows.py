"""An answer that is streamed past output rails: text leaves only when they have read it and what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..rails import RailDecision

HELD_CHARACTERS = 128  # that rails have read beyond what was sent: no pattern that is shorter leaves in part
_STEP_CHARACTERS = 64


async def in_windows(
    pieces: AsyncIterator[str], check: Callable[[str], Awaitable[RailDecision]]
) -> AsyncIterator[str | RailDecision]:
    """The pieces that rails let pass; the decision that blocks ends them.

    Each time the whole text so far is read. A hit within the held-back end may only be cut short there (a
    number of which more digits come), so it is read once more when more has come; nothing leaves meanwhile.
    """
    text, sent, is_suspect = "", 0, False
    due = HELD_CHARACTERS + _STEP_CHARACTERS
    async for piece in pieces:
        text += piece
        if len(text) < due:
            continue
        decision = await check(text)
        if not decision.allowed and (is_suspect or decision.error is not None):
            yield decision
            return
        is_suspect = not decision.allowed
        due = len(text) + max(_STEP_CHARACTERS, len(text) // 4)
        if is_suspect:
            due = len(text) + HELD_CHARACTERS
        elif len(text) - HELD_CHARACTERS > sent:
            yield text[sent : len(text) - HELD_CHARACTERS]
            sent = len(text) - HELD_CHARACTERS
    decision = await check(text)
    if not decision.allowed:
        yield decision
    elif sent < len(text):
        yield text[sent:]
