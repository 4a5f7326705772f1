"""What planning one message may take: reserved before each call of the model, settled after it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ....core.contract import Cost
from ....core.errors import BudgetError
from ....core.price_table import token_price
from ....core.settings.planner import PlannerSettings
from ....core.settings.prices import PriceSettings

_BYTES_A_TOKEN = 3  # fewer than any common tokenizer needs for English and JSON, so that too much is reserved
_MOST_WRITTEN = 16  # times what a reply may have: servers that do not heed it write more, none so much more
_FEWEST = 4  # times fewer tokens than reserved: a report below that is not believed


def tokens_of(text: str) -> int:
    """How many tokens a text has at most, estimated: there is no tokenizer of an unknown model."""
    return -(-len(text.encode(errors="replace")) // _BYTES_A_TOKEN)


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the endpoint reports them."""

    read: int
    written: int

    def at_most(self, read: int, written: int) -> Usage:
        """This, or less."""
        return Usage(min(self.read, read), min(self.written, written))


def with_table_prices(planner: PlannerSettings, prices: PriceSettings) -> PlannerSettings:
    """The settings with the price table's prices, where they name none of their own."""
    named = planner.usd_per_million_input is not None or planner.usd_per_million_output is not None
    if named or planner.base_url is None:
        return planner
    if (price := token_price(prices, str(planner.base_url), planner.model)) is None:
        return planner
    usd = {"usd_per_million_input": price.usd_per_million_input}
    return planner.model_copy(update={**usd, "usd_per_million_output": price.usd_per_million_output})


@dataclass
class PlanningMeter:
    """Turns, tokens, dollars and seconds of one message. What is not known counts as it was reserved."""

    settings: PlannerSettings
    began: float = field(default_factory=time.monotonic)
    turns: int = 0
    tokens: int = 0
    usd: float = 0.0
    _reserved: Usage | None = None

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float:
        """Until the time is over; not below zero."""
        return max(0.0, self.settings.max_seconds - self.seconds)

    @property
    def has_prices(self) -> bool:
        """Whether what tokens cost is known."""
        one = self.settings
        return one.usd_per_million_input is not None and one.usd_per_million_output is not None

    def reserve(self, read: int, written: int) -> None:
        """Set aside what the next call may take; BudgetError, naming the limit, when it does not fit."""
        limits = self.settings
        if self.turns + 1 > limits.max_turns:
            raise BudgetError(f"planner.max_turns is {limits.max_turns}, and all are used")
        if self.tokens + read + written > limits.max_tokens:
            raise BudgetError(
                f"planner.max_tokens is {limits.max_tokens:,}: {self.tokens:,} are used, the next call may "
                f"take {read + written:,}"
            )
        usd = self._price(Usage(read, written))
        if limits.max_usd is not None and self.usd + usd > limits.max_usd:
            raise BudgetError(
                f"planner.max_usd is {limits.max_usd:g}: {self.usd:.4f} are used, the next call may take "
                f"{usd:.4f}"
            )
        if self.seconds_left <= 0:
            raise BudgetError(f"planner.max_seconds is {limits.max_seconds:g}, and they are over")
        self.turns += 1
        self._reserved = Usage(read, written)

    def expected(self, read: int, written: int) -> Cost:
        """What the message has taken once a call of so many tokens ends, at most; US dollars need prices."""
        usd = self.usd + self._price(Usage(read, written)) if self.has_prices else None
        minutes = max(self.seconds, self.settings.max_seconds) / 60
        return Cost(minutes=minutes, gpu_hours=0, usd=usd, tokens=self.tokens + read + written)

    def taken(self) -> Cost:
        """What the message has taken."""
        usd = self.usd if self.has_prices else None
        return Cost(minutes=self.seconds / 60, gpu_hours=0, usd=usd, tokens=self.tokens)

    def settle(self, reported: Usage | None, said: str = "") -> None:
        """Count what the call took: as reported where that can be, else as reserved.

        A report of more than can be counts for the most that can: a token is a byte at least.

        said: what came, which took some tokens whatever is reported or was asked for.
        """
        reserved, self._reserved = self._reserved, None
        if reserved is None:
            raise RuntimeError("settled without a reservation")
        taken = reserved
        if reported is not None and reported.written >= 0 and reported.read >= reserved.read // _FEWEST:
            taken = reported.at_most(reserved.read * _BYTES_A_TOKEN, reserved.written * _MOST_WRITTEN)
        taken = Usage(taken.read, max(taken.written, tokens_of(said) // _FEWEST))
        self.tokens += taken.read + taken.written
        self.usd += self._price(taken)

    def _price(self, usage: Usage) -> float:
        one = self.settings
        return (
            usage.read * (one.usd_per_million_input or 0) + usage.written * (one.usd_per_million_output or 0)
        ) / 1e6
