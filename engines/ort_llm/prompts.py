"""From a chat or a text to the tokens a model reads: its template, and its control tokens kept out of texts.

Triton's stub runs this file as well, copied beside model.py into an interpreter without Opswright, so it
imports nothing but the standard library and numpy.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from .generation import GenerationJob


class WrongPrompt(ValueError):
    """The prompt or its options cannot be generated from; the caller must change them."""


def chat_fault(chat: Any) -> str | None:
    """Why no engine takes a chat, whatever its template; None when it is one.

    The library's templates take a missing text for an empty one, and its tokenizer ends a text at a NUL.
    """
    if not isinstance(chat, Sequence) or not chat:
        return "the chat has no messages"
    for message in chat:
        for name in ("role", "content"):
            text = message.get(name) if isinstance(message, Mapping) else None
            if not isinstance(text, str):
                return f"a message of the chat has no {name}"
            if (fault := _text_fault(text)) is not None:
                return fault
    return None


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "the prompt holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the prompt holds half of a surrogate pair, which is not valid Unicode"
    return None


class Spellings:
    """Where the texts of one prompt spell the tokenizer's own tokens (`</s>`, `<|im_start|>`).

    A template is given marks in their place; what it renders is then cut so that each is read as letters.
    """

    def __init__(self, own_tokens: re.Pattern[str] | None) -> None:
        self._own_tokens = own_tokens
        self._mark = f"\ue000{secrets.token_hex(8)}:"  # nobody can have written it
        self._found: list[str] = []

    def marked(self, text: str) -> str:
        """A text with marks in place of what spells a token."""

        def put(match: re.Match[str]) -> str:
            self._found.append(match.group())
            return f"{self._mark}{len(self._found) - 1}\ue000"

        return self._own_tokens.sub(put, text) if self._own_tokens is not None else text

    def marked_message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message with its texts marked; a tool call's name and arguments are texts too."""
        return {
            name: value if name == "role" else self._marked_value(value) for name, value in message.items()
        }

    def _marked_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.marked(value)
        if isinstance(value, list):
            return [self._marked_value(item) for item in value]
        if isinstance(value, dict):
            return {name: self._marked_value(item) for name, item in value.items()}
        return value

    def pieces(self, rendered: str) -> list[str]:
        """The rendered prompt, to be encoded piece by piece; a spelt token is cut after its first letter."""
        if not self._found:
            return [rendered]
        pieces = [""]
        for place, part in enumerate(re.split(f"{self._mark}([0-9]+)\ue000", rendered)):
            if place % 2:
                word = self._found[int(part)]
                pieces[-1] += word[:1]
                pieces.append(word[1:])
            else:
                pieces[-1] += part
        return [piece for piece in pieces if piece]


def own_tokens(names: Iterable[str]) -> re.Pattern[str] | None:
    """What finds a tokenizer's own tokens in a text, the longest first; None when it has none."""
    found = sorted({name for name in names if len(name) > 1}, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, found))) if found else None


class PromptEncoder:
    """Makes tokens of prompts for the model of one engine folder.

    What a message says is text: only the chat template can begin or end a turn (see Spellings).
    """

    def __init__(self, folder: Path, tokenizer: Any, context: int) -> None:
        self._tokenizer, self._context = tokenizer, context
        self._own_tokens = own_tokens(_added_tokens(folder))
        self._takes_tools = "tools" in _template(folder)
        self._begin = len(tokenizer.encode(""))  # tokens that the tokenizer puts before every text

    def encode(self, job: GenerationJob) -> None:
        """Set a job's tokens; WrongPrompt when it cannot be generated from."""
        spellings = Spellings(self._own_tokens)
        text = self._rendered(job, spellings) if job.messages else spellings.marked(job.text)
        if not text:
            raise WrongPrompt("the prompt is empty")
        if (fault := _text_fault(text)) is not None:
            raise WrongPrompt(fault)
        first, *others = (self._tokenizer.encode(piece) for piece in spellings.pieces(text))
        tokens = numpy.concatenate([first, *(more[self._begin :] for more in others)]) if others else first
        if len(tokens) >= self._context:
            raise WrongPrompt(f"the prompt has {len(tokens)} tokens; this engine takes {self._context - 1}")
        job.tokens = tokens

    def _rendered(self, job: GenerationJob, spellings: Spellings) -> str:
        """The chat as its template renders it, marked."""
        if job.tools and not self._takes_tools:
            raise WrongPrompt("the chat template of this engine takes no tools")
        try:
            chat = json.loads(job.messages)
        except ValueError as error:
            raise WrongPrompt(f"the chat template does not take these messages: {error}") from error
        if (fault := chat_fault(chat)) is not None:
            raise WrongPrompt(fault)
        messages = json.dumps([spellings.marked_message(message) for message in chat])
        options = {"tools": spellings.marked(job.tools)} if job.tools else {}
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
        except Exception as error:
            raise WrongPrompt(f"the chat template does not take these messages: {error}") from error
        return str(text)


def _added_tokens(folder: Path) -> list[str]:
    """The tokens that a folder's tokenizer recognises in any text."""
    path = folder / "tokenizer.json"
    added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", []) if path.is_file() else []
    return [str(entry.get("content", "")) for entry in added]


def _template(folder: Path) -> str:
    """The source of a folder's chat template; empty without one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    found = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return json.dumps(found.get("chat_template", ""))
