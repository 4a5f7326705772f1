"""Sample: one row of any dataset, suite or traffic window, as its source has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Message = Mapping[str, Any]
"""A message as OpenAI's chat API has it: role, content, and maybe tool_calls, tool_call_id, name."""

Task = Literal["classify", "generate", "chat", "extract", "choose", "answer", "prefer"]
"""What is asked of a model; it decides defaults alone: scorers, baselines, duplicates, how to split."""

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Sample:
    """One row: what is said, and what is known of the right answer. Nothing of it is ever altered.

    messages: oldest first. Where the last is the assistant's, it is what should be answered to those before
    it, and `targets` is empty. targets: right answers to `messages`, the first of which is learned. choices:
    the answers to choose from. contexts: passages the answer must rest on. tools: OpenAI's tool schemas.
    tags: named values that slices, filters, drift and the leaderboard use. Rows of one `group` never fall on
    both sides of a split. rejected: answers that are worse than the first target, for `prefer`. metadata:
    what else scorers must know, as JSON: `constraints`, `gold`, `reference_contexts`.
    """

    id: str
    messages: tuple[Message, ...]
    targets: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    rejected: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, id: str, text: str, *targets: str, **more: Any) -> Self:
        """A sample of one user message."""
        return cls(id, ({"role": "user", "content": text},), targets, **more)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What a model is given: the messages without an answer at their end."""
        ends = bool(self.messages) and self.messages[-1]["role"] == ASSISTANT
        return self.messages[:-1] if ends else self.messages

    @property
    def answer(self) -> str | None:
        """The right answer's text: the first target, else what the assistant says last; None without any."""
        if self.targets:
            return self.targets[0]
        last = self.messages[-1] if self.messages else {}
        content = last.get("content")
        return content if last.get("role") == ASSISTANT and isinstance(content, str) else None

    @property
    def conversation(self) -> tuple[Message, ...]:
        """What is learned: the messages, then the first target, if any, as the assistant's answer."""
        if not self.targets:
            return self.messages
        return (*self.messages, {"role": ASSISTANT, "content": self.targets[0]})

    @property
    def question(self) -> str:
        """What the user said last; empty when no user said anything."""
        said = (text_of(one) for one in reversed(self.messages) if one["role"] == "user")
        return next(said, "")

    def document(self) -> dict[str, Any]:
        """The sample as plain JSON, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value not in ((), {}, None)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The sample of a document that `document` gave."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return cls(**plain)


def text_of(message: Message) -> str:
    """The text of a message: its content, or the text parts of one that has parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and "text" in part)


def asked_of(sample: Sample) -> str:
    """All that users say in a sample, a line for each message, with the passages and choices it is about."""
    about = bool(sample.contexts or sample.choices)
    if len(sample.messages) == 1 and not about:
        return sample.question
    said = [text_of(one) for one in sample.prompt if one["role"] == "user"]
    return "\n".join([*sample.contexts, *said, *sample.choices])
