"""A call of a tool as the model wrote it: its arguments read, and the call as it is repeated to the model."""

from __future__ import annotations

import json
import re
from typing import Any

from ....core.secrets import Redactor
from .model_client import ModelCall
from .tool_schemas import PROPOSE


def arguments_of(call: ModelCall, redactor: Redactor) -> dict[str, Any]:
    """The arguments of a call, secrets hidden; ValueError, in words for the model, where they are none.

    A plan with a secret is refused: it would go on to a record, and hidden it is another plan.
    """
    try:
        arguments = json.loads(call.arguments or "{}", parse_constant=_no_constant)
        json.dumps(arguments, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the arguments are no JSON: {str(error)[:200]}") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments must be a JSON object")
    hidden: dict[str, Any] = redactor.plain(arguments)
    if call.name == PROPOSE and hidden != arguments:
        raise ValueError("the plan's arguments hold a secret")
    return hidden


def echo(call: ModelCall, redactor: Redactor) -> dict[str, str]:
    """A call as the conversation repeats it; what is no JSON would have some servers refuse the next one."""
    arguments = redactor.text(call.arguments) or "{}"
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        arguments = "{}"
    name = redactor.text(call.name)
    return {"name": re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed", "arguments": arguments}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
