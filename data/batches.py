"""How sequences are put into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def by_length(sequences: Sequence[Sized], most: int) -> Iterator[list[int]]:
    """Indices in batches of at most `most`, sequences of equal length together: nothing has to be padded."""
    numbers: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        numbers.setdefault(len(sequence), []).append(number)
    for length in sorted(numbers):
        same = numbers[length]
        for start in range(0, len(same), most):
            yield same[start : start + most]


def fitting(lengths: Iterable[int], waste: float) -> int:
    """How many of some lengths, longest first, stand side by side with that share of padding at most."""
    first = padding = tokens = count = 0
    for length in lengths:
        first = first or length
        padding, tokens = padding + first - length, tokens + length
        if padding > waste * tokens:
            break
        count += 1
    return count


def in_runs(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """The items in order, at most `most` at a time."""
    rest = iter(items)
    while run := list(islice(rest, most)):
        yield run
