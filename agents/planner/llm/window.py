"""What of a conversation a model is shown: the newest turns that fit, and always the plan that waits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ....core.data_block import bounded, data_block
from ....core.secrets import Redactor
from ..base import Ask, Turn
from .limits import tokens_of

Message = dict[str, Any]
OTHER = "other"  # speaker of what another person than who asks said
DROPPED = "[left out: the window is full]"
_LONGEST_TURN = 4_000  # characters of one turn
_LONGEST_DRAFT = 8_000


def conversation_messages(
    rules: str, conversation: Sequence[Turn], ask: Ask, tokens: int, redactor: Redactor
) -> list[Message]:
    """Rules, the turns that fit into so many tokens, and the ask. The oldest turns are left out first.

    What another person said, and what the agent said, which may quote others, is shown as data. The newest
    draft is kept whatever its age: "make it 300 steps" is about it.
    """
    head: Message = {"role": "system", "content": rules}
    last: Message = {"role": "user", "content": redactor.text(ask.text)}
    pinned = next(
        (at for at in range(len(conversation) - 1, -1, -1) if conversation[at].draft is not None), -1
    )
    left = tokens - _size(head) - _size(last)
    kept: dict[int, Message] = {}
    if pinned >= 0:
        kept[pinned] = _shown(conversation[pinned], redactor, with_draft=True)
        left -= _size(kept[pinned])
    for at in range(len(conversation) - 1, -1, -1):
        if at == pinned:
            continue
        message = _shown(conversation[at], redactor)
        left -= _size(message)
        if left < 0:
            break
        kept[at] = message
    return [head, *(kept[at] for at in sorted(kept)), last]


def fitted(messages: list[Message], tokens: int) -> list[Message]:
    """The messages with the contents of the oldest results left out until they fit."""
    shown = list(messages)
    for at, message in enumerate(messages):
        if sum(map(_size, shown)) <= tokens:
            break
        if message["role"] == "tool":
            shown[at] = {**message, "content": DROPPED}
    return shown


def size_of(messages: Sequence[Any]) -> int:
    """How many tokens messages, or tools, have at most."""
    return sum(map(_size, messages))


def _shown(turn: Turn, redactor: Redactor, *, with_draft: bool = False) -> Message:
    text = redactor.text(turn.text)[:_LONGEST_TURN]
    if turn.speaker == "user":
        return {"role": "user", "content": text}
    found: dict[str, Any] = {"said": text}
    if with_draft and turn.draft is not None:
        found["the plan as proposed or asked about"] = redactor.plain(bounded(dict(turn.draft), 60, 500))
    if turn.run is not None:
        found["run"] = turn.run
    body = json.dumps(found, ensure_ascii=False, default=str)[:_LONGEST_DRAFT]
    whose = "another person's message" if turn.speaker == OTHER else "Opswright's earlier reply"
    return {"role": "user", "content": data_block(whose, body)}


def _size(message: Any) -> int:
    return tokens_of(json.dumps(message, ensure_ascii=False)) + 4
