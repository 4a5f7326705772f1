"""One request on its way: who asks, what for, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..keys.allowance import Allowance
from ..server import Completion, Generation
from .patience import DEADLINE, Ending
from .traffic_log import CANCELLED, Route

if TYPE_CHECKING:
    from ..rails import RailDecision
    from .controller import Endpoint, LoadedRelease
    from .openai_requests import CompletionRequest
    from .request_queue import Place
    from .tracing import RequestTrace


@dataclass(frozen=True)
class Caller:
    """What a request says beside its body: its id and the key of its session.

    The workspace's own probes may also insist on a release and pass the rails by; they are not logged.
    allowance: what it may do by its key. ending: why it was cancelled, once it was. trace_headers: W3C's.
    """

    id: str
    session: str = ""
    is_probe: bool = False
    release: str | None = None
    has_rails: bool = True
    allowance: Allowance = field(default_factory=Allowance)
    ending: Ending = field(default_factory=Ending)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class AnswerChoice:
    """One answer to a request: what the engine is asked for, and what came of it."""

    ask: Generation
    text: str = ""
    finish: str = ""
    completion: Completion | None = None
    tool_calls: Sequence[dict[str, Any]] = ()
    called: str = ""  # the answer as the model wrote it, where that calls tools
    spent_tokens: int | None = None  # by the engine, also where a rail answered; None: nobody knows

    def blocked(self, decision: RailDecision) -> None:
        """End with what the user is told in place of the answer."""
        self.text = decision.message or "This request cannot be answered."
        self.finish, self.completion = "content_filter", None


@dataclass
class Exchange:
    """One request and what became of it. The traffic log has the first choice's text."""

    endpoint: Endpoint
    loaded: LoadedRelease
    route: Route
    request: CompletionRequest
    caller: Caller
    started: float
    choices: list[AnswerChoice]
    place: Place | None = None  # in its endpoint's queue; a probe needs none
    trace: RequestTrace | None = None
    first_token_ms: float | None = None
    queue_ms: float | None = None  # until its engine was first asked
    served: str = ""  # the release that the engine says it is
    finish: str = ""  # of all choices: cancelled, or an error; empty when each has its own
    rail: str | None = None
    canary_percent: int = 0  # when it was routed
    latency_ms: float = 0.0  # once it is closed

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request came."""
        return round((time.perf_counter() - self.started) * 1000, 3)

    @property
    def was_cut(self) -> bool:
        """Whether nobody knows how many tokens it used: the engine worked until the caller left."""
        is_cut = self.queue_ms is not None and self.finish in (CANCELLED, DEADLINE)
        return is_cut and any(choice.spent_tokens is None for choice in self.choices)

    def asks_engine(self) -> None:
        """Note that its engine is asked now, if it was not before."""
        if self.queue_ms is None:
            self.queue_ms = self.elapsed_ms

    @property
    def outcome(self) -> str:
        """What ended it: an error, its caller leaving, or else how its first choice ended."""
        return self.finish or self.choices[0].finish

    @property
    def text(self) -> str:
        """What was answered first of all, calls of tools too, as the model wrote them."""
        return self.choices[0].called or self.choices[0].text

    @property
    def used(self) -> tuple[int, int]:
        """Tokens read and made: the prompt counts once. What a rail answered used none."""
        made = [choice.completion for choice in self.choices if choice.completion is not None]
        return max((one.tokens_in for one in made), default=0), sum(one.tokens_out for one in made)
