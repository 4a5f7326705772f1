"""Tokens of endpoints as a step counts them: priced by the table, settled by address and model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from .price_table import TokenPrice, plain_address, token_price

if TYPE_CHECKING:
    from .contract import StepContext
    from .settings import Settings

CountTokens = Callable[[int, int], None]
"""Told how many tokens a reply of an endpoint read and wrote."""

_TEMPLATE_TOKENS = 16  # that a chat template puts around a message, at most
_lock = threading.Lock()


def token_counter(ctx: StepContext, url: str, model: str | None) -> CountTokens:
    """What counts the tokens of one model at an endpoint as this step's spending; from any thread.

    The price is that of now: a table that changes or goes while the step runs changes nothing of it.
    """
    return partial(_spend, ctx, url, token_price(ctx.settings.prices, url, model))


def spend_tokens(ctx: StepContext, url: str, model: str | None, read: int, written: int) -> None:
    """Count tokens that an endpoint read and wrote as what the step took.

    Without a price their dollars stay unknown, and are told to be.
    """
    _spend(ctx, url, token_price(ctx.settings.prices, url, model), read, written)


def _spend(ctx: StepContext, url: str, price: TokenPrice | None, read: int, written: int) -> None:
    usd = None if price is None else price.of(read, written)
    with _lock:
        ctx.spend(tokens=read + written, usd=usd)
        row = ctx.endpoints.setdefault(plain_address(url), {"tokens": 0.0})
        row["tokens"] += read + written
        if usd is None:
            row["unpriced_tokens"] = row.get("unpriced_tokens", 0.0) + read + written
        else:
            row["usd"] = row.get("usd", 0.0) + usd


def most_tokens(chats: Iterable[Iterable[Mapping[str, object]]]) -> int:
    """How many tokens chats have at most: one for each byte, and those of a template around each message."""
    return sum(
        len(str(message.get("content") or "").encode()) + _TEMPLATE_TOKENS
        for chat in chats
        for message in chat
    )


def usd_of(settings: Settings, url: str, model: str | None, read: float, written: float) -> float | None:
    """What so many tokens of a model at an endpoint cost; None: its price is not known."""
    price = token_price(settings.prices, url, model)
    return None if price is None else price.of(read, written)
