"""A guardrails config as an engine: what it decides of a chat, as a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.errors import AskError
from ...engines import Chat, GenerationOptions, GenerationResult, Progress
from ...evals.scorers.guard import BLOCKED, PASSED

if TYPE_CHECKING:
    from ...serving.rails import RailDecision, Rails

_CHECKED = ("user", "system", "developer")  # as the gateway does


class GuardEngine:
    """The input rails of one config; `[blocked] RAIL: FOUND` or `[passed]` for each chat."""

    def __init__(self, rails: Rails) -> None:
        self._rails = rails

    @property
    def version(self) -> str:
        """NeMo Guardrails and its version."""
        from importlib.metadata import version

        return f"nemoguardrails {version('nemoguardrails')}"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """What is decided of each chat, in their order; a rail that failed is that chat's error."""
        results = []
        for number, chat in enumerate(chats, 1):
            results.append(self._decided(chat))
            if progress is not None:
                progress(number, len(chats))
        return results

    def _decided(self, chat: Chat) -> GenerationResult:
        started = time.perf_counter()
        texts = [message["content"] for message in chat if message["role"] in _CHECKED]
        decisions = (self._rails.check_input(text) for text in texts)
        objection = next((one for one in decisions if not one.allowed), None)
        waited_ms = (time.perf_counter() - started) * 1000
        if objection is not None and objection.error is not None:
            return GenerationResult(None, "error", latency_ms=waited_ms, error=objection.error)
        return GenerationResult(_in_words(objection), latency_ms=waited_ms)

    def close(self) -> None:
        """Nothing to let go."""


def _in_words(objection: RailDecision | None) -> str:
    return PASSED if objection is None else f"{BLOCKED} {objection.rail}: {objection.found}"


def check_decides(suite: str, judged_by: Sequence[str]) -> None:
    """AskError for a suite that asks for answers, which a guardrails config has none of."""
    from ...evals.suites.guards import SUITES

    if "guard_decision" not in judged_by:
        raise AskError(
            f"suite {suite} asks for answers, and a guardrails config only blocks or lets pass. Take a suite "
            f"with the scorer guard_decision: {', '.join(SUITES)}."
        )
