"""The artifacts that a request, a result or JSON names, however deep, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from .artifact_refs import REF_TYPES, ArtifactRef, parse_ref

_REFERENCE = re.compile(r"[a-z][a-z0-9-]*:[0-9a-f]{64}")


def references_at(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each artifact reference in a request, a result or JSON, however deep, with its place: `parts.0`.

    A text that is a whole reference counts as one, and so does a key; of whatever kind it is.
    """
    if isinstance(value, str):
        if isinstance(value, ArtifactRef) or (len(value) > 64 and _REFERENCE.fullmatch(value)):
            yield place, value
    elif isinstance(value, BaseModel | Mapping):
        for name, inner in value.items() if isinstance(value, Mapping) else value:
            yield from references_at(name, f"{place}.{name}".lstrip("."))
            yield from references_at(inner, f"{place}.{name}".lstrip("."))
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from references_at(getattr(value, one.name), f"{place}.{one.name}".lstrip("."))
    elif isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes):
        for index, inner in enumerate(value):
            yield from references_at(inner, f"{place}.{index}".lstrip("."))


def references_in(value: Any) -> list[ArtifactRef]:
    """The artifacts that a request or JSON names, however deep, each once; of the kinds that are known."""
    found = (ref for _, ref in references_at(value))
    return [parse_ref(ref) for ref in dict.fromkeys(map(str, found)) if ref.partition(":")[0] in REF_TYPES]


def artifacts_in(result: Any) -> dict[str, str]:
    """The typed references in a result, however deep, by place; a text that looks like one is none."""
    return {place: str(ref) for place, ref in references_at(result) if isinstance(ref, ArtifactRef)}
