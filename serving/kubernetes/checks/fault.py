"""One fault of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST = 80


@dataclass(frozen=True)
class FileFault:
    """Where it is, what stands there, and what should. `found` is cut, and is no value of a secret."""

    file: str
    path: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path or 'the object'}: found {self.found}, wanted {self.wanted}"


def shown(value: object) -> str:
    """A value as a fault shows it."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def dotted(path: Iterable[str | int]) -> str:
    """A place in a manifest, as `spec.ports[0].port`."""
    found = ""
    for part in path:
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else str(part)
    return found
