"""The tool calls in an answer: models write them as text, each family in its own way."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection
from typing import Any

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)  # Hermes, Qwen
_LEADS = ("[TOOL_CALLS]", "<|python_tag|>")  # Mistral, Llama 3


def find_calls(text: str, offered: Collection[str]) -> tuple[str, list[dict[str, Any]]]:
    """The text beside the calls, and the calls as OpenAI has them.

    Either tagged calls within a text, or a text that is nothing but one call or a list of them, as JSON with
    `name` and `arguments` (or `parameters`). What calls a tool that was not offered is text, all of it.
    """
    if tagged := _TAGGED.findall(text):
        bodies, rest = tagged, _TAGGED.sub("", text).strip()
    else:
        bare = text.strip()
        for lead in _LEADS:
            bare = bare.removeprefix(lead).lstrip()
        bodies, rest = [bare], ""
    try:
        found = [call for body in bodies for call in _listed(json.loads(body))]
        calls = [_call(one, offered) for one in found]
    except (ValueError, RecursionError):
        return text, []
    return (rest, calls) if calls else (text, [])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _call(value: Any, offered: Collection[str]) -> dict[str, Any]:
    """One call; ValueError when the value is none."""
    if not isinstance(value, dict) or value.get("name") not in offered:
        raise ValueError("no call of an offered tool")
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    named = {"name": value["name"], "arguments": arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": named}
