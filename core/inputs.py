"""The files and folders from outside that a request names, however deep: a plan records their digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, SecretBytes, SecretStr

from .artifact_refs import is_reference

Place = tuple[str | int, ...]


class InputMarker:
    """Marks a path as a file or folder outside the workspace: a plan records its digest."""


def _no_reference(path: Path) -> Path:
    """A reference of a kind that is not taken would else pass for the name of a file."""
    if is_reference(str(path)):
        raise ValueError("expected a file or folder")
    return path


InputPath = Annotated[Path, AfterValidator(_no_reference), InputMarker()]

EndpointUrl = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]
"""The address of a server that is asked; without a password or a query, since it is recorded."""


def outside_paths(request: BaseModel) -> Iterator[tuple[Place, Path]]:
    """Each path of a request that is marked as an input, with its place in the request's JSON."""
    for name, field in type(request).model_fields.items():
        marked = any(isinstance(mark, InputMarker) for mark in field.metadata)
        yield from _paths(field.annotation, getattr(request, name), (name,), marked)


def _paths(annotation: Any, value: Any, place: Place, marked: bool) -> Iterator[tuple[Place, Path]]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(value, BaseModel):
        yield from ((place + rest, path) for rest, path in outside_paths(value))
    elif origin is Annotated:
        marked = marked or any(isinstance(mark, InputMarker) for mark in inner[1:])
        yield from _paths(inner[0], value, place, marked)
    elif origin in (Union, UnionType):
        yield from {p: v for option in inner for p, v in _paths(option, value, place, marked)}.items()
    elif isinstance(value, Path):
        if marked:
            yield place, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _paths(inner[1] if len(inner) == 2 else Any, one, (*place, str(key)), marked)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        fixed = origin is tuple and inner and inner[-1] is not Ellipsis
        for index, one in enumerate(value):
            kind = inner[index] if fixed and index < len(inner) else inner[0] if inner else Any
            yield from _paths(kind, one, (*place, index), marked)


def check_request_type(request: type[BaseModel]) -> None:
    """TypeError for a request that could hold a secret, or an input whose digest no plan could record."""
    for name, field in request.model_fields.items():
        _check(field.annotation, f"{request.__name__}.{name}", reachable=True, seen=set())


def _check(annotation: Any, where: str, *, reachable: bool, seen: set[type]) -> None:
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, InputMarker) and not reachable:
        raise TypeError(
            f"{where}: an InputPath may stand alone or in a tuple, list, dict, union or model, where its "
            "place in the request can be named; it may not be in a set or another container."
        )
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        raise TypeError(
            f"{where}: a request holds no secret, since requests are recorded. Take a SecretName "
            "(secret:env:NAME or secret:file:PATH) and resolve it in the step."
        )
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        for name, field in annotation.model_fields.items():
            for part in (field.annotation, *field.metadata):
                _check(part, f"{where}.{name}", reachable=reachable, seen=seen)
    walked = origin in (Annotated, Union, UnionType, tuple, list, dict, Sequence, Mapping)
    for one in inner:
        _check(one, where, reachable=reachable and walked, seen=seen)


def annotation_options(annotation: Any) -> Iterator[Any]:
    """The plain types that an annotation allows: unions taken apart, metadata taken off."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from annotation_options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from annotation_options(option)
    else:
        yield annotation


def types_in(annotation: Any) -> set[type]:
    """Every type that a value of an annotation may hold, however deep: in containers and in models."""
    found: set[type] = set()
    waiting = [annotation]
    while waiting:
        one = waiting.pop()
        waiting += get_args(one)
        if isinstance(one, type) and get_origin(one) is None and one not in found:
            found.add(one)
            if issubclass(one, BaseModel):
                waiting += [field.annotation for field in one.model_fields.values()]
    return found
