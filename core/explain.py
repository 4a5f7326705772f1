"""What pydantic finds wrong with somebody's input, as sentences a person can act on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from .artifact_refs import REF_TYPES
from .errors import did_you_mean
from .secrets import SecretName

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

HOLDS_SECRET = "holds_secret"  # the type of a fault whose input is repeated nowhere
_WANTED_KIND = re.compile(r"expected a reference like ([a-z-]+):")


def _is_name(part: int | str) -> bool:
    """Whether a part of a fault's place is a field, a key or an index, and not how its type was checked."""
    return isinstance(part, int) or not re.search(r"[\[(]|^constrained-|^function-", part)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each fault of a pydantic error as one sentence: where, what was found, what would do.

    What was found is left out where a secret's name belongs, as it may be the secret itself, and where the
    fault is HOLDS_SECRET.
    """
    by_place: dict[str, list[ErrorDetails]] = {}
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if _is_name(part)) or "request"
        by_place.setdefault(where, []).append(fault)
    return [_sentence(where, faults, model) for where, faults in by_place.items()]


def _sentence(where: str, faults: Sequence[ErrorDetails], model: type[BaseModel]) -> str:
    """The faults of one place, which are several where none of what it takes fits."""
    first = faults[0]
    if first["type"] == "extra_forbidden":
        known, name = list(model.model_fields), str(first["loc"][-1])
        return f"unknown argument '{name}' (it takes: {', '.join(known)}).{did_you_mean(name, known)}"
    if first["type"] == "missing":
        return f"argument '{where}' is required"
    kinds = [kind[1] for fault in faults if (kind := _WANTED_KIND.search(fault["msg"]))]
    kind_given = str(first["input"]).partition(":")[0]
    if kind_given in REF_TYPES and kind_given not in kinds and ":" in str(first["input"]):
        takes = f" (of artifacts it takes: {', '.join(kinds)})" if kinds else ""
        return f"argument '{where}': a {kind_given} is not taken here{takes}"
    others = [_message(fault) for fault in faults if not _WANTED_KIND.search(fault["msg"])]
    more = f" (or {', '.join(kinds[1:])})" if kinds[1:] else ""
    reference = [f"expected a reference like {kinds[0]}:<64 hex digits>{more}"] if kinds else []
    messages = dict.fromkeys(one.removeprefix("Value error, ") for one in (*reference, *others))
    said = f"argument '{where}': {', or: '.join(messages)}"
    if first["type"] == HOLDS_SECRET:
        return said
    return said if _may_hold_secret(model, first["loc"]) else f"{said} (found {str(first['input'])[:80]!r})"


def _message(fault: ErrorDetails) -> str:
    """What pydantic says; an address's pattern in words."""
    pattern = str(fault.get("ctx", {}).get("pattern", ""))
    return (
        "expected an address like http://host:8000/v1" if pattern.startswith("^https?://") else fault["msg"]
    )


def _may_hold_secret(model: type[BaseModel], place: tuple[int | str, ...]) -> bool:
    """Whether what stands at a place of a model's input is, or holds, what should be a secret's name."""
    fields = model.model_fields.items()
    concerned = [f.annotation for name, f in fields if place and place[0] in (name, f.alias)]
    return any(map(_takes_secret, concerned or [field.annotation for _, field in fields]))


def _takes_secret(annotation: Any, above: tuple[Any, ...] = ()) -> bool:
    if annotation in above:  # a model that holds itself
        return False
    if isinstance(annotation, type) and issubclass(annotation, SecretName):
        return True
    inner = list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner += [field.annotation for field in annotation.model_fields.values()]
    return any(_takes_secret(one, (*above, annotation)) for one in inner)
