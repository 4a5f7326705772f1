"""One fault of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ManifestFault:
    """What is wrong at which place of a manifest: `spec.template.spec.containers[0].ports[0]`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def path_of(parts: Iterable[str | int]) -> str:
    """A place in a manifest, as `spec.ports[0].port`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
