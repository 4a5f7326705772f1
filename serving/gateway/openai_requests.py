"""What OpenAI's requests may say here: chat and legacy completions, checked field by field.

A field that nothing here can follow is refused, never ignored (docs/guide/openai.md has them all).
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json

from ...core.errors import AskError
from ...engines.registry import Feature
from ..server import Generation
from .openai_parts import ChatMessage, RequestPart, ResponseFormat, StreamOptions, Tool

MAX_BODY_BYTES = 256 * 1024
MAX_CHOICES = 8
_DEFAULT_MAX_TOKENS = 256
_INT64 = 1 << 63
_INT32 = 1 << 31
_SEEDS = 1 << 31  # what engines take; greater and negative ones are folded into it

_UNSUPPORTED = {
    "audio": "answers are text",
    "best_of": "use n, which returns every choice",
    "echo": "the prompt is not repeated",
    "frequency_penalty": "no engine here has penalties",
    "function_call": "it is OpenAI's older form: use tool_choice",
    "functions": "it is OpenAI's older form: use tools",
    "logit_bias": "no engine here takes it",
    "metadata": "nothing is stored under it",
    "modalities": "answers are text",
    "moderation": "rails decide what passes",
    "prediction": "no engine here takes it",
    "presence_penalty": "no engine here has penalties",
    "reasoning_effort": "no engine here has it",
    "store": "answers are kept in the endpoint's traffic log alone",
    "suffix": "no engine here fills in",
    "verbosity": "no engine here has it",
    "web_search_options": "nothing is searched",
}
_NEUTRAL: dict[str, tuple[object, ...]] = {  # the values that ask for nothing
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "store": (False,),
    "suffix": ("",),
}


def _asks_for_nothing(name: str, value: object) -> bool:
    """Whether an unsupported parameter has the value that changes nothing; True is not 1, nor False 0."""
    same_kind = (one for one in _NEUTRAL.get(name, ()) if isinstance(one, bool) == isinstance(value, bool))
    return value is None or any(one == value for one in same_kind)


_Stop = Annotated[str, Field(min_length=1)]


class CompletionRequest(RequestPart):
    """What chat and legacy completions have in common. Without a temperature the answer is greedy.

    None is a field's default, as OpenAI's clients send it. `user`, `prompt_cache_key` and
    `safety_identifier` tell callers apart; `service_tier` and `parallel_tool_calls` have one value here.
    """

    model_config = ConfigDict(extra="allow")  # looked at by `_refuse_unsupported`

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, lt=_INT32)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-_INT64, lt=_INT64)
    stop: _Stop | Annotated[tuple[_Stop, ...], Field(max_length=4)] | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    user: str | None = Field(None, max_length=512)

    @model_validator(mode="after")
    def _refuse_unsupported(self) -> CompletionRequest:
        for name, value in (self.model_extra or {}).items():
            if name not in _UNSUPPORTED:
                raise ValueError(f"unknown parameter '{name[:60]}'")
            if not _asks_for_nothing(name, value):
                raise ValueError(f"'{name}' is not supported: {_UNSUPPORTED[name]}")
        return self

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> CompletionRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream: true")
        return self

    @property
    @abstractmethod
    def operation(self) -> str:
        """What it asks for, as OpenTelemetry names it (gen_ai.operation.name)."""

    @property
    @abstractmethod
    def last_text(self) -> str:
        """What the user says."""

    @property
    @abstractmethod
    def turns(self) -> Sequence[tuple[str, str]]:
        """Everything that is said, in its order, with the role that says it: what rails read."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[tuple[str, Feature]]:
        """What an engine must be able to beside answering a chat: the parameter that asks, the feature."""

    @property
    def offered_tools(self) -> frozenset[str]:
        """The names of the tools that the model may call."""
        return frozenset()

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def generations(self, random_seed: Callable[[], int]) -> list[Generation]:
        """One generation for each choice, defaults filled in; choices differ by their seed.

        A greedy answer has no use for a random seed, and takes none.
        """
        seed = self.seed or 0
        if self.seed is None and self.temperature:
            seed = random_seed()
        return [self._generation((seed + number) % _SEEDS) for number in range(self.n or 1)]

    @abstractmethod
    def _generation(self, seed: int) -> Generation:
        """What the engine is asked for one choice."""


class ChatRequest(CompletionRequest):
    """A chat completion request."""

    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=256)]
    max_completion_tokens: int | None = Field(None, ge=1, lt=_INT32)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: tuple[Tool, ...] | None = Field(None, max_length=128)
    tool_choice: Literal["auto", "none"] | None = None
    parallel_tool_calls: Literal[True] | None = None
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_key: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)

    @model_validator(mode="after")
    def _fields_fit(self) -> ChatRequest:
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("max_tokens and max_completion_tokens say the same: give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        if self.tool_choice is not None and not self.tools:
            raise ValueError("tool_choice goes with tools")
        return self

    @property
    def operation(self) -> str:
        """See CompletionRequest."""
        return "chat"

    @property
    def last_text(self) -> str:
        """The last user message."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), self.messages[-1].text)

    @property
    def turns(self) -> Sequence[tuple[str, str]]:
        """Every role's text, with the ids, names and arguments of calls, and what tools say of themselves."""
        found = [("tools", " ".join(_words(tool))) for tool in self._offered]
        for message in self.messages:
            found.append((message.role, message.text))
            for call in message.tool_calls or ():
                found.append((message.role, f"{call.id} {call.function.name} {call.function.arguments}"))
            if message.tool_call_id:
                found.append((message.role, message.tool_call_id))
        return found

    @property
    def needs(self) -> Sequence[tuple[str, Feature]]:
        """See CompletionRequest."""
        found: list[tuple[str, Feature]] = []
        if self._schema:
            found.append(("response_format", "json_schema"))
        if self._offered or any(m.tool_calls or m.role == "tool" for m in self.messages):
            found.append(("tools", "tools"))
        if self.logprobs:
            found.append(("logprobs", "logprobs"))
        return found

    @property
    def offered_tools(self) -> frozenset[str]:
        """See CompletionRequest."""
        return frozenset(tool.function.name for tool in self.tools or () if self._offered)

    @property
    def _offered(self) -> list[dict[str, Any]]:
        if self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools or ()]

    @property
    def _schema(self) -> str:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return ""
        return json.dumps(wanted.json_schema.schema_ if wanted.json_schema else {"type": "object"})

    def _generation(self, seed: int) -> Generation:
        return Generation(
            messages=to_json([message.for_engine() for message in self.messages]).decode(),
            max_tokens=self.max_completion_tokens or self.max_tokens or _DEFAULT_MAX_TOKENS,
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            seed=seed,
            stop=self.stops,
            tools=json.dumps(self._offered, ensure_ascii=False) if self._offered else "",
            json_schema=self._schema,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


class TextRequest(CompletionRequest):
    """A legacy completion request: one prompt, put to the model as it is."""

    prompt: Annotated[str, Field(min_length=1)]
    logprobs: Literal[None] = None

    @property
    def operation(self) -> str:
        """See CompletionRequest."""
        return "text_completion"

    @property
    def last_text(self) -> str:
        """The prompt."""
        return self.prompt

    @property
    def turns(self) -> Sequence[tuple[str, str]]:
        """The prompt."""
        return [("user", self.prompt)]

    @property
    def needs(self) -> Sequence[tuple[str, Feature]]:
        """See CompletionRequest."""
        return [("prompt", "text")]

    def _generation(self, seed: int) -> Generation:
        return Generation(
            messages="",
            text=self.prompt,
            max_tokens=self.max_tokens or 16,  # OpenAI's default
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            seed=seed,
            stop=self.stops,
        )


def _words(value: object) -> list[str]:
    """Every text in a JSON value, names too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [word for name, one in value.items() for word in (str(name), *_words(one))]
    return [word for one in value for word in _words(one)] if isinstance(value, list) else []


def parse_chat(body: bytes) -> ChatRequest:
    """The chat request in a body; AskError names the first field that is wrong."""
    return _parse(ChatRequest, body)


def parse_text(body: bytes) -> TextRequest:
    """The legacy completion request in a body; AskError names the first field that is wrong."""
    return _parse(TextRequest, body)


class RequestError(AskError):
    """A request that is wrong; `param` is the field, where one is at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


R = TypeVar("R", bound=CompletionRequest)


def _parse(kind: type[R], body: bytes) -> R:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        raise RequestError(f"{where}: {said}" if where else said, where or None) from error
