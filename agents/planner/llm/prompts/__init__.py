"""The prompts: a file for each version, known by name and digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prompt:
    """A prompt's text, and the name that records and MLflow know it by."""

    name: str
    version: int
    text: str

    @property
    def label(self) -> str:
        """Name and version, as rules.v1."""
        return f"{self.name}.v{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def prompts() -> list[Prompt]:
    """Every prompt that is shipped, each version by itself."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.v*.txt")):
        name, _, version = path.stem.rpartition(".v")
        found.append(Prompt(name, int(version), path.read_text(encoding="utf-8")))
    return found


def prompt(name: str) -> Prompt:
    """The newest version of a prompt."""
    return max((one for one in prompts() if one.name == name), key=lambda one: one.version)
