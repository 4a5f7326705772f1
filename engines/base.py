"""What an engine is: chats in, texts out, with the reason each text ended and the tokens it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..core.errors import AskError

Chat = Sequence[Mapping[str, str]]
"""Messages, oldest first: role and content."""

Progress = Callable[[int, int], None]
"""Called with (answered, of)."""


PROMPT_REFUSED = "prompt_refused"
"""The error code of our own gateway for a prompt that an engine refuses."""


class PromptError(AskError):
    """An engine cannot take a prompt: it is empty, too long, or no chat that its template renders."""


@dataclass(frozen=True)
class GenerationOptions:
    """How tokens are chosen and when to stop. Temperature 0 is greedy: then only max_tokens and stop count.

    max_tokens: new tokens at most, also limited by what the context leaves. top_k 0: all tokens. A text ends
    before the first of the stop strings that it would contain.

    The rest only where a target's `features` say so. prompt: put to the model as it is, in place of the chat.
    tools: JSON for the chat template. json_schema: what the text must fit. top_logprobs: how many likeliest
    tokens are told beside each chosen one; None: no log-probabilities.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    prompt: str = ""
    tools: str = ""
    json_schema: str = ""
    top_logprobs: int | None = None

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature <= 0


class GenerationResult(NamedTuple):
    """What an engine made of one chat, as it made it: nothing is stripped.

    finish_reason: `stop` (it ended, or met a stop string), `length` (cut by max_tokens or the context),
    `cancelled`, `refused` (the engine cannot take this prompt) or `error` (it failed); an endpoint may have
    reasons of its own. `text` is None when there is none, and `error` then says why. `tokens_out` leaves out
    the end token; an endpoint that does not count says 0. `latency_ms` is what the asker waited, so a batch's
    whole time for each of it. continuations: of a choice by likelihood, what it was chosen by. logprobs: one
    entry a token, as OpenAI's `logprobs.content`, when they were asked for.
    """

    text: str | None
    finish_reason: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    latency_ms: float = 0.0
    error: str | None = None
    continuations: tuple[Continuation, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether it ended because no more tokens were allowed."""
        return self.finish_reason == "length"

    @classmethod
    def refused(cls, why: object) -> GenerationResult:
        """The result of a prompt that the engine cannot take."""
        return cls(None, "refused", error=str(why))


class Engine(Protocol):
    """Something that generates. Opening it loads it; `close` lets it go."""

    @property
    def version(self) -> str:
        """What generates and its version, such as `onnxruntime-genai 0.18.0`."""

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; what goes wrong with one is its result, not the others'.

        A greedy text does not depend on the chats beside it, nor a sampled one: the seed alone decides.
        """

    def close(self) -> None:
        """Free what it holds; a second time does nothing."""


class Continuation(NamedTuple):
    """How likely a text is after a prompt.

    logprob: natural log of its probability, summed over its `tokens`; without the end token. is_greedy:
    whether greedy generation would begin so. error: why it was not scored.
    """

    logprob: float
    tokens: int
    is_greedy: bool = False
    latency_ms: float = 0.0
    error: str | None = None

    @classmethod
    def failed(cls, why: object) -> Continuation:
        """What could not be scored, and why."""
        return cls(float("-inf"), 0, error=str(why))


@runtime_checkable
class ScoringEngine(Protocol):
    """An engine that can also say how likely a text is."""

    @property
    def version(self) -> str:
        """What scores and its version."""

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        """How likely each of a chat's continuations is as what the assistant says next, in their order.

        prefix: what stands between prompt and continuation; None: what the model's chat template puts there,
        as in training. What goes wrong with one continuation is its result, not the others'.
        """


@dataclass(frozen=True)
class GenerationListener:
    """Who hears of one generation, from a thread of the engine.

    `on_text` gets each new piece (a TextPiece where log-probabilities are told), None for a text that is
    wanted whole; one of `on_result` and `on_error` ends it. A result after pieces has an empty text.
    `is_cancelled` is asked now and then.
    """

    on_result: Callable[[GenerationResult], None]
    on_error: Callable[[Exception], None]
    on_text: Callable[[str], None] | None = None
    is_cancelled: Callable[[], bool] = lambda: False


@runtime_checkable
class StreamingEngine(Protocol):
    """An engine that also takes chats one by one while others are being answered, and tells pieces."""

    def submit(self, chat: Chat, options: GenerationOptions, listener: GenerationListener) -> None:
        """Begin, and return at once. PromptError reaches `on_error` for a prompt that it cannot take."""


def user_chat(text: str) -> Chat:
    """A chat of one user message."""
    return ({"role": "user", "content": text},)


def too_long(tokens: int, context: int) -> str:
    """Why a prompt of so many tokens does not fit into a context."""
    return f"the prompt has {tokens} tokens; this engine takes {context - 1}"


def no_chat_template(where: object) -> AskError:
    """The error for a model that does not say how a chat becomes a prompt."""
    return AskError(
        f"{where} has no chat template, so a message cannot be put to it as in training. Save one with its "
        "tokenizer."
    )
