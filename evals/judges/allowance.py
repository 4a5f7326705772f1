"""Tokens that a judge may take in one step: held before each request, given back where it took less."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ...core.token_spending import most_tokens
from ...engines import Chat, GenerationResult


class TokenAllowance:
    """So many tokens of one server, for whoever asks it; safe for several threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held = 0
        self._guard = threading.Lock()

    def hold(self, chat: Chat, reply_tokens: int) -> int | None:
        """Hold what a chat and its reply take at most; None, and nothing held, where that does not fit."""
        tokens = most_tokens([chat]) + reply_tokens
        with self._guard:
            if self._held + tokens > self.most:
                return None
            self._held += tokens
            return tokens

    def settle(self, chat: Chat, held: int, result: GenerationResult) -> None:
        """Keep of what was held what the request took; what is not reported counts as held."""
        if result.error is not None and not result.tokens_in:
            took = 0  # a request that failed
        else:
            read = result.tokens_in if result.tokens_in > 0 else most_tokens([chat])
            took = read + (result.tokens_out if result.tokens_out > 0 else held - most_tokens([chat]))
        with self._guard:
            self._held += took - held


def held_for(allowance: TokenAllowance | None, chats: Sequence[Chat], reply_tokens: int) -> list[int | None]:
    """What is held for each chat: None for one that must not be asked, 0 without an allowance."""
    if allowance is None:
        return [0] * len(chats)
    return [allowance.hold(chat, reply_tokens) for chat in chats]
