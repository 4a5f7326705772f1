"""An answer that is streamed past output rails: text leaves only when they have read it and what follows."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...engines import TextPiece

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
    Log-probabilities spell their tokens: a piece's leave when all of its text does.
    """
    text, sent, is_suspect = "", 0, False
    held = _HeldLogprobs()
    due = HELD_CHARACTERS + _STEP_CHARACTERS
    async for piece in pieces:
        text += piece
        held.take(piece, len(text))
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
            upto = len(text) - HELD_CHARACTERS
            yield TextPiece(text[sent:upto], held.until(upto))
            sent = upto
    decision = await check(text)
    if not decision.allowed:
        yield decision
    elif (rest := held.until(len(text))) or sent < len(text):
        yield TextPiece(text[sent:], rest)


class _HeldLogprobs:
    """The log-probabilities of pieces that have not left, each with where its piece ends in the text."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, tuple[dict[str, Any], ...]]] = deque()

    def take(self, piece: str, end: int) -> None:
        if isinstance(piece, TextPiece) and piece.logprobs:
            self._held.append((end, piece.logprobs))

    def until(self, place: int) -> list[dict[str, Any]]:
        """Let go those of the pieces that end at a place or before it."""
        found: list[dict[str, Any]] = []
        while self._held and self._held[0][0] <= place:
            found += self._held.popleft()[1]
        return found
