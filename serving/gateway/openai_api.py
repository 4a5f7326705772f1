"""How OpenAI's clients read answers, chunks and errors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ...engines import TextPiece


def usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    """The `usage` object, counted by the engine's tokenizer."""
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }


@dataclass(frozen=True)
class Head:
    """What every document of one answer begins with; the fingerprint is the release."""

    model: str
    id: str
    release: str
    is_chat: bool = True

    def document(self, kind: str) -> dict[str, Any]:
        """The beginning of a document."""
        return {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{self.id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "system_fingerprint": self.release,
        }


@dataclass(frozen=True)
class Answer:
    """One choice that is complete. tool_calls and logprobs as OpenAI has them, empty when there are none."""

    text: str
    finish: str
    tool_calls: Sequence[dict[str, Any]] = ()
    logprobs: Sequence[dict[str, Any]] | None = None


def completion(head: Head, answers: Sequence[Answer], used: dict[str, int]) -> dict[str, Any]:
    """The document of answers that are not streamed."""
    if not head.is_chat:
        choices = [{**_choice(i, one.finish), "text": one.text} for i, one in enumerate(answers)]
        return {**head.document("text_completion"), "choices": choices, "usage": used}
    choices = []
    for number, one in enumerate(answers):
        message: dict[str, Any] = {"role": "assistant", "content": one.text, "refusal": None}
        if one.tool_calls:
            message |= {"content": one.text or None, "tool_calls": list(one.tool_calls)}
        told = None if one.logprobs is None else {"content": list(one.logprobs), "refusal": None}
        choices.append({**_choice(number, one.finish), "message": message, "logprobs": told})
    return {**head.document("chat.completion"), "choices": choices, "usage": used}


def _choice(number: int, finish: str | None) -> dict[str, Any]:
    return {"index": number, "finish_reason": finish, "logprobs": None}


class Chunks:
    """The pieces of one streamed answer, of one or several choices."""

    def __init__(self, head: Head, *, wants_usage: bool) -> None:
        self._is_chat = head.is_chat
        self._head = head.document("chat.completion.chunk" if head.is_chat else "text_completion")
        if wants_usage:  # null in every chunk but the last, as OpenAI has it
            self._head["usage"] = None

    def begin(self, choices: int) -> list[dict[str, Any]]:
        """The chunks with each choice's role, before the first piece; a legacy completion has none."""
        role = {"role": "assistant", "content": ""}
        return [self._chunk(number, role, "", None) for number in range(choices if self._is_chat else 0)]

    def piece(self, number: int, text: str) -> dict[str, Any]:
        """A chunk with the next piece of a choice's text, and the log-probabilities it may have."""
        logprobs = text.logprobs if isinstance(text, TextPiece) else ()
        return self._chunk(number, {"content": text}, text, None, logprobs)

    def calls(
        self, number: int, calls: Sequence[dict[str, Any]], logprobs: Sequence[dict[str, Any]] = ()
    ) -> dict[str, Any]:
        """A chunk with the tools that a choice calls."""
        indexed = [{"index": place, **call} for place, call in enumerate(calls)]
        return self._chunk(number, {"tool_calls": indexed}, "", None, logprobs)

    def end(self, number: int, finish: str) -> dict[str, Any]:
        """The chunk that ends a choice, with its finish reason."""
        return self._chunk(number, {}, "", finish)

    def usage(self, used: dict[str, int]) -> dict[str, Any]:
        """The tokens, after the end, for who asked for them."""
        return {**self._head, "choices": [], "usage": used}

    def _chunk(
        self,
        number: int,
        delta: dict[str, Any],
        text: str,
        finish: str | None,
        logprobs: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": delta} if self._is_chat else {"text": text}
        if logprobs:
            said["logprobs"] = {"content": list(logprobs), "refusal": None}
        return {**self._head, "choices": [{**_choice(number, finish), **said}]}


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def event(document: dict[str, Any] | str) -> bytes:
    """A server-sent event with a document as JSON, or a word such as [DONE]."""
    data = document.encode() if isinstance(document, str) else to_json(document)
    return b"data: %b\n\n" % data
