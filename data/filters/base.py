"""What a filter is: a function that says why a sample should not be learned, and alters no text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..sample import Sample, text_of

Filter = Callable[[Sample], str | None]
"""From a sample to why it is left out, in words; None where it stays."""

Limit = float | tuple[str, ...]
"""A number from 0, or some names."""


@dataclass(frozen=True)
class FilterSpec:
    """A kind of filter: what it is for, and its limits with their usual values.

    modules: what it cannot do without beside what is always installed. takes_words: it looks for the words of
    a list, which `make` gets as `words`, a path or None.
    """

    summary: str
    make: Callable[..., Filter]
    limits: Mapping[str, Limit]
    modules: tuple[str, ...] = ()
    takes_words: bool = False


def whole_text(sample: Sample) -> str:
    """All that is said in a sample, its answer too, a line for each message."""
    return "\n".join(filter(None, map(text_of, sample.conversation)))
