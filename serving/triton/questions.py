"""One generation as a Triton model is asked it, and the reading of what it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import to_json

from ...core.errors import BackendError, NeedsError
from ...engines import GenerationOptions, PromptError, TextPiece
from ...engines.registry import engine_target
from ...engines.triton_text import ModelPlace, TextPrompt, TritonTextModel
from ..server import Completion, Generation, ServedModel, ServerDown

_GONE = ("not healthy", "Stub process", "is not ready", "unknown model", "not found", "unloading")
_PARTIAL = "\ufffd"  # a character of which more bytes come


class TritonQuestion(Protocol):
    """A generation, ready to be asked once."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Those of its trace."""

    @property
    def names_release(self) -> bool:
        """Whether an answer says itself which release gave it."""

    def body(self, *, streaming: bool = False) -> bytes:
        """The generate extension's JSON."""

    def pieces(self, data: bytes, *, streaming: bool = True) -> Iterator[str | Completion]:
        """What one reply adds; the Completion ends it.

        Raises PromptError when the prompt is at fault, ServerDown when healing may help, else BackendError.
        """


class OwnQuestion:
    """Of a model whose code is ours: chats in, and every answer names its release."""

    names_release = True

    def __init__(self, ask: Generation) -> None:
        self._ask = ask
        self.headers = ask.trace_headers

    def body(self, *, streaming: bool = False) -> bytes:
        """What the engine does by default is left out."""
        ask = self._ask
        prompt = {"text_input": ask.text} if ask.text else {"messages": ask.messages}
        fields: dict[str, Any] = {**prompt, "sampling_param_max_tokens": ask.max_tokens}
        fields.update(
            (name, value) for name, value in (("tools", ask.tools), ("json_schema", ask.json_schema)) if value
        )
        if ask.top_logprobs is not None:
            fields["top_logprobs"] = ask.top_logprobs
        if streaming:
            fields["streaming"] = True
        if ask.temperature > 0:
            fields["sampling_param_temperature"] = ask.temperature
            fields["sampling_param_top_k"] = ask.top_k
            fields["sampling_param_top_p"] = ask.top_p
            fields["sampling_param_seed"] = ask.seed
        if ask.stop:
            fields["sampling_param_stop"] = json.dumps(ask.stop)
        return to_json(fields)

    def pieces(self, data: bytes, *, streaming: bool = True) -> Iterator[str | Completion]:
        """A piece, or the end."""
        found = outputs_of(data)
        if "finish_reason" not in found:
            yield TextPiece(str(found["text_output"]), json.loads(found.get("logprobs") or "[]"))
            return
        yield Completion(
            text=found["text_output"],
            finish_reason=found["finish_reason"],
            tokens_in=int(found["num_input_tokens"]),
            tokens_out=int(found["num_output_tokens"]),
            release=found["release"],
            logprobs=tuple(json.loads(found.get("logprobs") or "[]")),
        )


class TextQuestion:
    """Of a model that takes a text and says no more than a text: its release is what its config says.

    A stop string ends the answer here, before it; nothing that may begin one is told. Tokens are counted by
    the tokenizer.
    """

    names_release = False

    def __init__(self, model: TritonTextModel, prompt: TextPrompt, ask: Generation, release: str) -> None:
        self._model, self._prompt, self._ask, self._release = model, prompt, ask, release
        self._told = 0
        self._seen = ""
        self._held = max((len(word) - 1 for word in ask.stop), default=0)
        self.headers = ask.trace_headers

    def body(self, *, streaming: bool = False) -> bytes:
        """The tensors as the target has them."""
        ask = self._ask
        options = GenerationOptions(ask.max_tokens, ask.temperature, ask.top_k, ask.top_p, ask.seed)
        return to_json(self._model.fields(self._prompt, options, streaming=streaming))

    def pieces(self, data: bytes, *, streaming: bool = True) -> Iterator[str | Completion]:
        """What a reply adds to the text that was told; each holds all of the answer so far."""
        found = outputs_of(data)
        text, reason = self._model.text(found), self._model.finish_reason(found)
        if not text.startswith(self._seen):
            raise BackendError("Triton's model took back what it had answered; nothing more is passed on.")
        if hits := [at for word in self._ask.stop if (at := text.find(word)) >= 0]:
            text, reason = text[: min(hits)], "stop"
        if not (reason or streaming):
            reason = "length" if self._model.count(text) >= self._ask.max_tokens else "stop"
        whole = text if reason else text.rstrip(_PARTIAL)
        self._seen = whole
        upto = len(whole) if reason else max(self._told, len(whole) - self._held)
        if streaming and upto > self._told:
            yield TextPiece(whole[self._told : upto])
            self._told = upto
        if reason:
            made = self._model.count(whole)
            shown = "" if streaming else whole
            yield Completion(shown, reason, self._prompt.tokens, made, self._release)


class QuestionMaker:
    """Makes questions for models of any target, and says what such a model's folder holds.

    code: where the code lies that a target does not ship. seen_at: the repository as the servers see it.
    """

    def __init__(self, code: Path | None = None, seen_at: str = "") -> None:
        self._code, self._seen_at = code, seen_at.rstrip("/")
        self._models: dict[Path, TritonTextModel] = {}

    def text_model(self, model: ServedModel) -> TritonTextModel | None:
        """What speaks to the Triton model of a target that is not ours; None for our own."""
        opener = engine_target(model.target).triton_text
        if opener is None:
            return None
        if model.engine not in self._models:
            self._models[model.engine] = opener(model.engine)
        return self._models[model.engine]

    def place(self, model: ServedModel) -> ModelPlace:
        """Where such a model goes; NeedsError where settings do not say what it needs."""
        if self._code is None or not self._seen_at:
            raise NeedsError(
                f"a bundle of target '{model.target}' needs NVIDIA's code, and the repository's path on the "
                "servers. Set serving.external.llmapi_code and serving.external.seen_at."
            )
        return ModelPlace(
            model.name, model.release, f"{self._seen_at}/{model.name}/{model.version}", self._code
        )

    async def ask(self, model: ServedModel, ask: Generation) -> TritonQuestion:
        """A generation as the model is asked it; PromptError for a chat that cannot be."""
        if engine_target(model.target).triton_text is None:
            return OwnQuestion(ask)
        return await asyncio.to_thread(self._text_question, model, ask)

    def _text_question(self, model: ServedModel, ask: Generation) -> TextQuestion:
        speaker = self.text_model(model)
        if speaker is None or ask.text or ask.tools or ask.json_schema or ask.top_logprobs is not None:
            raise PromptError(f"engines of target '{model.target}' answer chats, and nothing else")
        try:
            chat = [dict(message) for message in json.loads(ask.messages)]
        except (ValueError, TypeError, AttributeError) as error:
            raise PromptError(f"the chat template does not take these messages: {error}") from error
        return TextQuestion(speaker, speaker.prompt(chat), ask, model.release)


def outputs_of(data: bytes) -> dict[str, Any]:
    """A reply's output tensors; what it says of a failure is raised. An error may come with status 200."""
    try:
        found: dict[str, Any] = json.loads(data)
    except ValueError as error:  # of something between us and the server
        raise ServerDown(f"Triton's answer cannot be read: {data[:80]!r}") from error
    if "error" in found:
        message = str(found["error"])
        if found.get("finish_reason") == "wrong prompt":
            raise PromptError(message)
        family = ServerDown if any(mark in message for mark in _GONE) else BackendError
        raise family(f"Triton's model failed: {message}")
    return found
