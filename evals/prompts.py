"""How a suite puts a sample to a model: system message, template, examples."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.errors import AskError
from ..data.dataset import asked_with
from ..data.sample import ASSISTANT, Message, Sample, text_of
from ..data.text import fingerprint
from ..engines import Chat
from .templates import compile_template, render_template

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Prompt:
    """What stands around a sample's own messages.

    system: a system message before all else. template: Jinja for the text of the last user message, with
    `templates.FIELDS`; None: as models learn it, contexts before and choices after the message. examples:
    answered samples, put before as turns of their own.
    answer_prefix: what stands between the prompt and a choice whose likelihood is asked; None: what the
    model's own chat template puts there.
    """

    system: str | None = None
    template: str | None = None
    examples: tuple[Sample, ...] = ()
    answer_prefix: str | None = None

    def chat(self, sample: Sample) -> Chat:
        """The messages that a model gets; AskError for a sample the template cannot render."""
        own = list(sample.prompt)
        if not own:
            raise AskError(f"sample '{sample.id}' has no message to ask.")
        if self.system is not None and own[0]["role"] == "system":
            raise AskError(
                f"sample '{sample.id}' has a system message of its own beside the suite's. Keep one of them."
            )
        chat = [] if self.system is None else [{"role": "system", "content": self.system}]
        for example in self.examples:
            chat.append({"role": "user", "content": self._asked(example)})
            chat.append({"role": ASSISTANT, "content": example.answer or ""})
        last = next((i for i in reversed(range(len(own))) if own[i]["role"] == "user"), None)
        for number, message in enumerate(own):
            if number == last and (self.template is not None or sample.contexts or sample.choices):
                chat.append({"role": "user", "content": self._asked(sample)})
            else:
                chat.append(as_text_message(message))
        return tuple(chat)

    def _asked(self, sample: Sample) -> str:
        if self._compiled is None:
            return asked_with(sample)
        fields = {
            "question": sample.question,
            "choices": list(sample.choices),
            "contexts": list(sample.contexts),
            "tools": [dict(tool) for tool in sample.tools],
            "tags": dict(sample.tags),
        }
        try:
            return render_template(self._compiled, fields)
        except AskError as error:
            raise AskError(f"the template does not render sample '{sample.id}': {error}.") from error

    @cached_property
    def _compiled(self) -> Template | None:
        return None if self.template is None else compile_template(self.template)

    def document(self) -> dict[str, Any]:
        """What a suite's digest is over."""
        found = {"system": self.system, "template": self.template, "answer_prefix": self.answer_prefix}
        return {**found, "examples": [one.document() for one in self.examples]}


def as_text_message(message: Message) -> dict[str, str]:
    """A message as engines take it, role and text: parts are joined, tool calls are their JSON."""
    calls = message.get("tool_calls")
    content = text_of(message)
    if not content and calls:
        content = json.dumps([one.get("function", one) for one in calls], ensure_ascii=False)
    return {"role": str(message["role"]), "content": content}


def draw_examples(pool: Sequence[Sample], n: int, seed: int, asked: Sequence[Sample]) -> tuple[Sample, ...]:
    """The same n answered samples on every run, none of which is asked, nor of a group that is.

    Raises AskError when the pool has not enough of them.
    """
    texts = {fingerprint(one.question) for one in asked}
    groups = {one.group for one in asked} - {None}
    fit = [
        one
        for one in pool
        if one.answer is not None and fingerprint(one.question) not in texts and one.group not in groups
    ]
    if len(fit) < n:
        raise AskError(
            f"{n} examples were asked for, {len(fit)} of {len(pool)} can be given: they need an answer, and "
            "none may be an item of the suite. Take fewer, or another file."
        )
    return tuple(random.Random(seed).sample(fit, n))


def tag_values(samples: Sequence[Sample]) -> Mapping[str, tuple[str, ...]]:
    """Each tag of the samples with its values, in the order they are first met."""
    found: dict[str, dict[str, None]] = {}
    for sample in samples:
        for name, value in sample.tags.items():
            found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}
