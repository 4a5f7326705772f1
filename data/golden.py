"""A golden set held out of a source: whole groups, every label, and no question twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..core.files import write_atomically
from .profile import prompt_text, split_key
from .sample import Sample

SHARE, LEAST, MOST = 0.2, 100, 1000
LEAST_PASSAGES = 50  # fewer cannot be split: then questions about one passage lie on both sides


def golden_size(rows: int) -> int:
    """How many of so many rows are held out: a fifth, at least 100 and at most 1,000, never over a third."""
    return max(1, min(max(round(SHARE * rows), LEAST), MOST, rows // 3))


class GoldenChoice:
    """Chooses samples for a golden set in one pass, by the digest of what must stay together.

    Whether a group is chosen depends on it and the seed alone, so rows that are added later change nothing
    for those that were there, and each label gives about its share.
    """

    def __init__(self, rows: int, labels: Mapping[str, int], seed: int, by_passage: bool = False) -> None:
        self._share = golden_size(rows) / max(rows, 1)
        self._labels, self._seed, self._by_passage = labels, seed, by_passage
        self._chosen: dict[str, Sample] = {}
        self.rows = 0

    def look(self, sample: Sample) -> bool:
        """Whether a sample's group is chosen; if so it is kept: of one question, all right answers."""
        key = split_key(sample, self._by_passage)
        drawn = hashlib.sha256(f"{self._seed} {key}".encode()).digest()
        if int.from_bytes(drawn[:8]) >= self._share * 2**64:
            return False
        self.rows += 1
        if sample.answer is None:  # as one that is answered by a tool call
            return True
        place = key if key.startswith("text ") else f"{key} {prompt_text(sample)}"
        known = self._chosen.get(place)
        if known is None:
            self._chosen[place] = sample
        elif sample.targets and sample.targets[0] not in known.targets:
            self._chosen[place] = replace(known, targets=(*known.targets, *sample.targets))
        return True

    @property
    def samples(self) -> list[Sample]:
        """The golden samples; of `classify`, one label each."""
        found = list(self._chosen.values())
        return [replace(one, targets=one.targets[:1]) for one in found] if self._labels else found


def write_golden(path: Path, samples: Iterable[Sample], mode: int) -> str:
    """Write samples as JSON lines, each with an id of its own; gives the file's SHA-256.

    A conversation's last answer is written as its target: a suite knows samples with targets, and their ids
    and groups, for what they are. mode: who may read the file.
    """
    seen: Counter[str] = Counter()
    lines = []
    for sample in samples:
        seen[sample.id] += 1
        name = sample.id if seen[sample.id] == 1 else f"{sample.id}-{seen[sample.id]}"
        right = sample.targets or ((sample.answer,) if sample.answer is not None else ())
        document = replace(sample, id=name, messages=sample.prompt, targets=right, rejected=()).document()
        lines.append(json.dumps(document, ensure_ascii=False) + "\n")
    data = "".join(lines).encode()
    write_atomically(path, data, mode)
    return hashlib.sha256(data).hexdigest()
