"""Which column of a source holds which part of a sample: as mapped, or recognised by the usual names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .sample import Task


class Columns(BaseModel):
    """The column of each part of a sample; None where the source has no such part.

    A user's turn is `messages` (a whole conversation), or `system` and `user` (one turn).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: str | None = Field(None, description="Conversation: OpenAI messages, or ShareGPT's turns.")
    system: str | None = Field(None, description="System prompt of a row.")
    user: str | None = Field(None, description="What the user says.")
    input: str | None = Field(None, description="What the user's text is about, added after a blank line.")
    target: str | None = Field(None, description="The right answer, or a list of right answers.")
    choices: str | tuple[str, ...] | None = Field(
        None, description="Column with the list of choices, or the columns that hold one choice each."
    )
    contexts: str | None = Field(None, description="Passages that the answer rests on: a text or a list.")
    tools: str | None = Field(None, description="OpenAI tool schemas.")
    rejected: str | None = Field(None, description="An answer that is worse than the target.")
    id: str | None = Field(None, description="Id of a row; of two rows with one id the second is dropped.")
    paraphrase: str | None = Field(
        None, description="The last question in other words, for a suite's robustness; no model learns it."
    )
    group: str | None = Field(None, description="Rows that share its value stay on one side of a split.")
    tags: dict[str, str] = Field({}, description="Name of a tag: column of its values.")
    unused: tuple[str, ...] = Field((), description="Columns taken for nothing, whatever their names.")

    @model_validator(mode="before")
    @classmethod
    def _tags_by_name(cls, given: Any) -> Any:
        """`tags: [language]` means `tags: {language: language}`."""
        if isinstance(given, dict) and isinstance(tags := given.get("tags"), list | tuple):
            return {**given, "tags": {str(name): str(name) for name in tags}}
        return given

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Self:
        if self.messages and (self.user or self.system or self.input):
            raise ValueError("messages is a whole conversation: give it, or system, user and input, not both")
        return self

    @property
    def says_what_is_asked(self) -> bool:
        """Whether the columns of what a model is asked are mapped."""
        return bool(self.messages or self.user or (self.target and self.rejected))

    def used(self) -> dict[str, str]:
        """Each column and the part of a sample it is taken for."""
        found: dict[str, str] = {}
        for part, value in self:
            if part == "tags":
                found.update({column: f"tag {name}" for name, column in self.tags.items()})
            elif value and part != "unused":
                names = (value,) if isinstance(value, str) else value
                found.update(dict.fromkeys(names, part))
        return found

    def over(self, known: Columns) -> Columns:
        """These columns, and where they say nothing the known ones."""
        given = {part: value for part, value in self if value}
        if self.messages:
            known = known.model_copy(update={"system": None, "user": None, "input": None})
        elif self.user:
            known = known.model_copy(update={"messages": None})
        return known.model_copy(update=given)


_CONVERSATIONS = ("messages", "conversations", "conversation", "dialog", "dialogue")
_QUESTIONS = ("question", "user_input", "query")
_CONTEXTS = ("contexts", "context", "retrieved_contexts", "reference_contexts", "passages", "documents")
_RIGHT = ("ground_truth", "ground_truths", "reference", "expected_answer", "expected", "gold")
_ANSWERS = (*_RIGHT, "answer", "answers", "response")
_CHOICES = ("choices", "options")
_KEYS = ("answer", "answerKey", "answer_key", "answer_index", "label")
_TEXTS = (
    "text", "utterance", "sentence", "tweet", "review", "comment", "message", "query", "prompt", "question",
)  # fmt: skip
LABELS = ("label", "intent", "labels", "category", "class", "sentiment", "topic")
_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("input", "output"),
    ("query", "response"),
    ("prompt", "answer"),
    ("instruction", "response"),
    ("input", "target"),
    ("source", "target"),
)
_TOOLS = ("tools", "functions")
SHAPES = (
    "messages; conversations; instruction + output; prompt + completion; question + contexts + answer; "
    "text + label; prompt + chosen + rejected; question + choices + answer"
)


def recognise(names: Collection[str]) -> tuple[Columns, Task] | None:
    """The columns and the task of the first usual shape whose names are all there; None for none of them."""
    first = _Names(names)
    asked = first.of("prompt", *_QUESTIONS, "input", "instruction")
    if first.of("chosen") and first.of("rejected"):
        conversation = None if asked else first.of(*_CONVERSATIONS)
        return _found("prefer", messages=conversation, user=asked, target="chosen", rejected="rejected",
                      system=first.of("system") if asked else None)  # fmt: skip
    if first.of("text") and (label := first.of("label")):
        return _found("classify", user="text", target=label)
    if conversation := first.of(*_CONVERSATIONS):
        return _found("chat", messages=conversation, tools=first.of(*_TOOLS))
    question = first.of(*_QUESTIONS, "prompt", "ctx", "stem")
    lettered = tuple(name for name in "ABCDEFGHIJ" if name in names)
    choices = first.of(*_CHOICES, "endings") or (lettered if len(lettered) > 1 else None)
    if question and choices and (key := first.of(*_KEYS)):
        return _found("choose", user=question, choices=choices, target=key, contexts=first.of(*_CONTEXTS))
    if question and (contexts := first.of(*_CONTEXTS)) and (answer := first.of(*_ANSWERS)):
        return _found("answer", user=question, contexts=contexts, target=answer)
    if (asked := first.of("instruction")) and (output := first.of("output", "response")):
        return _found(
            "generate", user=asked, input=first.of("input"), target=output, system=first.of("system")
        )
    for prompt, completion in _PAIRS:
        if first.of(prompt, completion) and prompt in names and completion in names:
            return _found("generate", user=prompt, target=completion, system=first.of("system"))
    if (text := first.of(*_TEXTS)) and (label := first.of(*LABELS)):
        return _found("classify", user=text, target=label)
    if question and (answer := first.of(*_ANSWERS)):
        return _found("generate", user=question, target=answer, system=first.of("system"))
    return None


def usual_text(names: Collection[str]) -> str:
    """The first usual name of a text column that is there; `text` when none is."""
    return _Names(names).of(*_TEXTS) or _TEXTS[0]


class _Names:
    """The names of a row's columns, and which of some usual ones comes first."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def of(self, *usual: str) -> str | None:
        return next((name for name in usual if name in self.names), None)


def _found(task: Task, **parts: str | tuple[str, ...] | None) -> tuple[Columns, Task]:
    return Columns.model_validate(parts), task
