"""Chat rows as NeMo AutoModel trains on them: how a chat template is used, and what of a row is learned.

A template that marks the assistant's text (`{% generation %}`) decides itself what is learned. Elsewhere
AutoModel finds the assistant's turns by rendering the conversation up to each, and takes off what the
template itself writes before an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKS = re.compile(r"\{%-?\s+generation\s+-?%\}")  # as AutoModel 0.7.0 looks for them
_PROBE = {"probe_key": "probe value"}
_PROBE_JSON = re.compile(r'\{\s*"probe_key"\s*:\s*"probe value"\s*\}')


def template_text(template: object) -> str:
    """A tokenizer's chat template as text; of several the default one; empty without any."""
    if isinstance(template, Mapping):
        template = template.get("default", next(iter(template.values()), ""))
    if isinstance(template, list):  # as older tokenizer_config.json files name several
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, Mapping)}
        template = named.get("default", next(iter(named.values()), ""))
    return template if isinstance(template, str) else ""


def has_marks(template: object) -> bool:
    """Whether a chat template marks what the assistant says."""
    return _MARKS.search(template_text(template)) is not None


def folder_template(folder: Path) -> str:
    """The chat template of a Hugging Face folder; empty without one. AskError when it is not readable."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read(path)
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return ""
    try:
        values = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise AskError(f"{path} is not valid JSON: {error}") from error
    return template_text(values.get("chat_template")) if isinstance(values, dict) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AskError(f"{path} is not UTF-8 text: {error}") from error


def tool_arguments_as(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """How a chat template takes a tool call's arguments: `object`, `text`, or None where it renders no JSON.

    Templates that print `arguments | tojson` make of a text a JSON string within JSON, which a model would
    learn; those that print it as it is make of an object Python's notation. So both are tried.
    """
    for form, arguments in (("object", _PROBE), ("text", json.dumps(_PROBE))):
        call = {"id": "call00000", "type": "function", "function": {"name": "probe", "arguments": arguments}}
        messages: list[Any] = [
            {"role": "user", "content": "probe"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        try:
            rendered = tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:  # a template may raise whatever it likes; then this form is not for it
            continue
        if _PROBE_JSON.search(str(rendered)):
            return form
    return None


def chat_rows(
    path: Path | str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    mask_generation_prompt: bool = False,
    last_turn_only: bool = False,
) -> Any:
    """AutoModel's own dataset of a JSONL file: by number input_ids, labels (shifted) and attention_mask.

    A tool call's arguments reach the template in the form that it prints as JSON.
    """
    from nemo_automodel.components.datasets.llm.chat_dataset import ChatDataset, _normalize_messages
    from nemo_automodel.components.datasets.llm.formatting_utils import format_chat_template

    class Chats(ChatDataset):  # type: ignore[misc]
        _takes_objects: bool | None = None

        def __getitem__(self, index: int) -> Any:
            row = self.dataset[index]
            messages = row.get("messages") if isinstance(row, dict) else None
            called = isinstance(messages, list) and any(
                isinstance(one, dict) and one.get("tool_calls") for one in messages
            )
            if not called or not self._prints_objects():
                return super().__getitem__(index)
            sample = format_chat_template(
                self.tokenizer,
                with_argument_objects(_normalize_messages(messages)),
                getattr(self.tokenizer, "eos_token_id", 0),
                self.pad_token_id,
                tools=tools_of(row),
                mask_generation_prompt=self.mask_generation_prompt,
            )
            if self.mask_history:
                self._keep_last_supervised_run(sample["labels"], -100)
            return sample

        def _prints_objects(self) -> bool:
            if self._takes_objects is None:
                self._takes_objects = tool_arguments_as(self.tokenizer) == "object"
            return self._takes_objects

    return Chats(
        str(path),
        tokenizer,
        mask_generation_prompt=mask_generation_prompt,
        mask_history=last_turn_only,
    )


def with_argument_objects(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with each tool call's arguments as an object, where they are the JSON text of one."""
    return [
        {**one, "tool_calls": [_with_object(call) for call in one["tool_calls"]]}
        if one.get("tool_calls")
        else one
        for one in messages
    ]


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    arguments = arguments_of(call)
    if not isinstance(arguments, dict):
        return call
    return {**call, "function": {**call["function"], "arguments": arguments}}


def arguments_of(call: Mapping[str, Any]) -> Any:
    """A tool call's arguments: the object, or the text where it is not the JSON of one."""
    arguments = call["function"]["arguments"]
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments)
        except json.JSONDecodeError:
            return arguments
        return read if isinstance(read, dict) else arguments
    return arguments


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tool schemas of a row, or None; ValueError when they are neither a list nor its JSON text."""
    tools = row.get("tools")
    if isinstance(tools, str):
        tools = json.loads(tools)
    if tools is not None and not isinstance(tools, list):
        raise ValueError(f"`tools` must be a list, found {type(tools).__name__}")
    return tools or None
