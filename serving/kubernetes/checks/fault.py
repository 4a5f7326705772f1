"""One fault in a file of manifests."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 80


@dataclass(frozen=True)
class FileFault:
    """Where it is, and what is wrong there; `message` holds no value of a secret."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path or 'the object'}: {self.message}"


def differs(found: object, wanted: str) -> str:
    """What stands somewhere, and what should."""
    return f"found {shown(found)}, wanted {wanted}"


def shown(value: object) -> str:
    """A value as a fault shows it."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
