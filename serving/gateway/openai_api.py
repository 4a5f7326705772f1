"""The OpenAI chat form: what requests may say, and how answers, chunks and errors look."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ...core.errors import AskError
from ..server import Generation

MAX_BODY_BYTES = 256 * 1024
_DEFAULT_MAX_TOKENS = 256


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # clients send fields that mean nothing here


class TextPart(_Lenient):
    """One part of a message that comes in parts."""

    type: Literal["text"]
    text: str


class ChatMessage(_Lenient):
    """One message; parts that are not text are refused."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...]

    @property
    def text(self) -> str:
        """The text; parts are joined without a separator."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Lenient):
    """`include_usage`: a last chunk with the tokens."""

    include_usage: bool = False


class ChatRequest(_Lenient):
    """A chat completion request. Without a temperature the answer is greedy."""

    model: str
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=256)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(None, ge=1, le=32_768)
    max_completion_tokens: int | None = Field(None, ge=1, le=32_768)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), max_length=4)
    user: str = Field("", max_length=512)
    n: Literal[1] = 1
    logprobs: Literal[False] | None = None
    tools: tuple[()] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("temperature", "top_p", "seed", "user", "stream_options", "n", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].get_default() if value is None else value

    @property
    def last_text(self) -> str:
        """What the user says: the last user message."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), self.messages[-1].text)

    def generation(self) -> Generation:
        """The request in the engine's terms, defaults filled in."""
        messages = [{"role": m.role, "content": m.text} for m in self.messages]
        return Generation(
            messages=json.dumps(messages, ensure_ascii=False),
            max_tokens=self.max_completion_tokens or self.max_tokens or _DEFAULT_MAX_TOKENS,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
        )


def parse(body: bytes) -> ChatRequest:
    """The request in a body; AskError names the first field that is wrong."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "body"
        raise AskError(f"{where}: {fault['msg']}") from error


def usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    """The `usage` object, counted by the engine's tokenizer."""
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }


def chat_completion(
    model: str, number: str, text: str, finish: str, release: str, used: dict[str, int]
) -> dict[str, Any]:
    """The document of an answer that is not streamed; its fingerprint is the release."""
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": release,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": used,
    }


class Chunks:
    """The pieces of one streamed answer."""

    def __init__(self, model: str, number: str, release: str) -> None:
        self._head = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": release,
        }

    def delta(self, **delta: str) -> dict[str, Any]:
        """A chunk with the next piece of text, or the role before the first."""
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def end(self, finish: str) -> dict[str, Any]:
        """The chunk that ends the answer, with its finish reason."""
        return {**self._head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}

    def usage(self, used: dict[str, int]) -> dict[str, Any]:
        """The tokens, after the end, for who asked for them."""
        return {**self._head, "choices": [], "usage": used}


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def event(document: dict[str, Any] | str) -> bytes:
    """A server-sent event with a document as JSON, or a word such as [DONE]."""
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    return f"data: {text}\n\n".encode()
