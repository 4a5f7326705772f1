"""What pydantic finds wrong with somebody's input, as sentences a person can act on."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from .errors import did_you_mean
from .secrets import SecretName


def _is_name(part: int | str) -> bool:
    """Whether a part of a fault's place is a field, a key or an index, and not how its type was checked."""
    return isinstance(part, int) or not re.search(r"[\[(]|^constrained-|^function-", part)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each fault of a pydantic error as one sentence: where, what was found, what would do.

    What was found is left out where a secret's name belongs: it may be the secret itself.
    """
    sentences = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if _is_name(part)) or "request"
        if fault["type"] == "extra_forbidden":
            known = list(model.model_fields)
            name = str(fault["loc"][-1])
            sentences.append(
                f"unknown argument '{name}' (it takes: {', '.join(known)}).{did_you_mean(name, known)}"
            )
        elif fault["type"] == "missing":
            sentences.append(f"argument '{where}' is required")
        elif _may_hold_secret(model, fault["loc"]):
            sentences.append(f"argument '{where}': {fault['msg']}")
        else:
            sentences.append(f"argument '{where}': {fault['msg']} (found {str(fault['input'])[:80]!r})")
    return sentences


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
