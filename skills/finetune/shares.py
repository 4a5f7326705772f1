"""A share of a dataset's training rows: whole groups, drawn by seed; a smaller share is part of a larger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from ...core.artifacts import Artifact
from ...data.dataset import ROWS, chat_line, dataset_samples
from ...data.rows import TRAIN

_TRAIN_FILE = "train.jsonl"


def shared_lines(data: Artifact, share: float, seed: int) -> tuple[bytes, ...]:
    """The lines of a dataset's training rows that a share below 1 has, in their order.

    Rows of one group go together, so the share is reached by the group that fills it and may be passed by the
    rest of that. A line without a known group is one of its own.
    """
    return _shared_lines(Verified(data), share, seed)


class Verified:
    """An opened dataset as a key of the cache: its folder is named by the digest of what it holds."""

    def __init__(self, data: Artifact) -> None:
        self.data = data

    def __hash__(self) -> int:
        return hash(self.data.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verified) and self.data.path == other.data.path


@lru_cache(maxsize=8)  # pre-flight, estimate and step ask for the same one
def _shared_lines(dataset: Verified, share: float, seed: int) -> tuple[bytes, ...]:
    path = dataset.data.path
    groups = _groups(dataset.data) if (path / ROWS).is_file() else {}
    return tuple(choose_share(read_lines(path / _TRAIN_FILE), groups, share, seed))


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, but those without anything."""
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]


def _groups(data: Artifact) -> dict[bytes, str]:
    """The group of each training row, by its chat line."""
    return {chat_line(sample).encode(): sample.group or "" for sample in dataset_samples(data, TRAIN)}


def choose_share(lines: Sequence[bytes], groups: Mapping[bytes, str], share: float, seed: int) -> list[bytes]:
    """The lines of a share, in their order: the first groups of an order that seed and lines alone decide."""
    members: dict[str | int, list[int]] = {}
    for number, line in enumerate(lines):
        members.setdefault(groups.get(line) or number, []).append(number)
    salt = str(seed).encode()

    def rank(numbers: list[int]) -> tuple[bytes, int]:
        return hashlib.sha256(salt + min(lines[number] for number in numbers)).digest(), numbers[0]

    wanted, chosen = rows_of_share(len(lines), share), list[int]()
    for numbers in sorted(members.values(), key=rank):
        if len(chosen) >= wanted:
            break
        chosen += numbers
    return [lines[number] for number in sorted(chosen)]


def rows_of_share(rows: int, share: float) -> int:
    """Rows that a share should have: at least one of any."""
    return max(1, round(rows * share)) if rows else 0
