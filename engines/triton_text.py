"""What a target says of a Triton model that takes a text and answers a text, and knows nothing of us.

Prompts are rendered on our side, and what such a model does not tell is found otherwise, or not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .base import Chat, GenerationOptions

RELEASE = "release"
"""The parameter of a model's config that says which release it is: answers do not."""


class TextPrompt(NamedTuple):
    """A prompt as the model is given it, and how many tokens that is there."""

    text: str
    tokens: int


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is put: its name, its release, and its version's folder as the server sees it.

    code: the folder with the model's own code, which is not ours to ship.
    """

    name: str
    release: str
    seen_at: str
    code: Path


class TritonTextModel(Protocol):
    """One bundle's engine as such a model; methods may be called from any thread."""

    def config(self, place: ModelPlace) -> str:
        """The config.pbtxt, with the release as its parameter RELEASE."""

    def files(self, place: ModelPlace) -> Mapping[str, Path | bytes]:
        """What lies in the version's folder beside the engine; NeedsError where its code is missing."""

    def prompt(self, chat: Chat) -> TextPrompt:
        """A chat as its template renders it.

        PromptError for one that the template or the context does not take, or that a text cannot carry.
        """

    def fields(self, prompt: TextPrompt, options: GenerationOptions, *, streaming: bool) -> dict[str, Any]:
        """The input tensors of a generation, as JSON of Triton's generate extension."""

    def text(self, outputs: Mapping[str, Any]) -> str:
        """The text in one reply; while it streams, all of the answer so far."""

    def finish_reason(self, outputs: Mapping[str, Any]) -> str:
        """Why the answer ended, when a reply is its last; empty before that, or where it is not told."""

    def count(self, text: str) -> int:
        """The tokens of an answer's text, by the model's tokenizer: the model itself counts none."""
