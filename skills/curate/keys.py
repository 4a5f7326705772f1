"""What cleaning has to know of each row: hashes and numbers, never its text."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...data.sample import ASSISTANT, Sample, Task, text_of
from ...data.text import fingerprint, label_form
from .gather import GatheredRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDES = (None, "train", "validation")


def answer_of(sample: Sample) -> str:
    """What is learned as the answer, as text: of a tool call its JSON; empty where there is none."""
    if sample.answer is not None:
        return sample.answer
    last = sample.messages[-1]
    if last["role"] != ASSISTANT:
        return ""
    calls = last.get("tool_calls")
    return json.dumps(calls, sort_keys=True, ensure_ascii=False) if calls else text_of(last)


def asked_of(sample: Sample) -> str:
    """All that users say in a sample, a line for each message."""
    if len(sample.messages) == 1:
        return sample.question
    return "\n".join(text_of(one) for one in sample.prompt if one["role"] == "user")


class RowKeys:
    """Of every row, in order: what it is compared by.

    For `classify` rows are alike by what is asked, and labels by the form in which they are compared. For any
    other task a row is what is asked together with its answer, so that several answers to one prompt stay.
    """

    def __init__(self, task: Task) -> None:
        self.labelled = task == "classify"
        self.labels: dict[str, int] = {}  # each spelling and its number
        self.files: dict[str, int] = {}
        self._exact, self._words, self._meant, self._prompt = array("Q"), array("Q"), array("Q"), array("Q")
        self._tied, self._label, self._file, self._row = array("Q"), array("i"), array("i"), array("q")
        self._side = array("b")

    def __len__(self) -> int:
        return len(self._row)

    def add(self, rows: Sequence[GatheredRow]) -> list[str]:
        """Take in rows; gives the form of each in which similar ones are looked for."""
        return [self._add(row) for row in rows]

    def _add(self, row: GatheredRow) -> str:
        sample, answer = row.sample, answer_of(row.sample)
        prompt = "\x1e".join(text_of(one) for one in sample.prompt)
        words = fingerprint(prompt)
        if self.labelled:
            meant, form = label_form(answer), words
            self._exact.append(_hash(prompt))
            self._words.append(_hash(words))
            self._label.append(self.labels.setdefault(answer, len(self.labels)))
        else:
            about = "\x1e".join((*sample.contexts, *sample.choices))
            meant = fingerprint(answer)
            form = f"{fingerprint(asked_of(sample))} {meant}"
            self._exact.append(_hash(f"{prompt}\x1f{about}\x1f{answer}"))
            self._words.append(_hash(f"{words}\x1f{about}\x1f{meant}"))
            self._prompt.append(_hash(words))
        self._meant.append(_hash(meant))
        self._tied.append(_hash(row.sample.group) if row.sample.group is not None else 0)
        self._file.append(self.files.setdefault(row.file, len(self.files)))
        self._row.append(row.row)
        self._side.append(SIDES.index(row.side))
        return form

    def name(self, at: int) -> str:
        """How reports call a row."""
        return f"{list(self.files)[self._file[at]]} row {self._row[at]}"

    @property
    def exact(self) -> NDArray[np.uint64]:
        """Hash of a row's texts as they are."""
        return _numbers(self._exact)

    @property
    def words(self) -> NDArray[np.uint64]:
        """Hash of what makes a row the same as another."""
        return _numbers(self._words)

    @property
    def meant(self) -> NDArray[np.uint64]:
        """Hash of the answer in the form in which two are the same."""
        return _numbers(self._meant)

    @property
    def prompt(self) -> NDArray[np.uint64]:
        """Hash of what is asked in the form in which two are the same."""
        return self.words if self.labelled else _numbers(self._prompt)

    @property
    def tied(self) -> NDArray[np.uint64]:
        """Hash of a row's group; 0 for none."""
        return _numbers(self._tied)

    @property
    def label(self) -> NDArray[np.int32]:
        """Number of a row's label, as its source spells it; all 0 where answers are free."""
        import numpy as np

        if not self.labelled:
            return np.zeros(len(self), np.int32)
        return np.frombuffer(self._label, np.int32) if len(self) else np.empty(0, np.int32)

    @property
    def side(self) -> NDArray[np.int8]:
        """0 for a new row; for a replayed one 1 where it was trained on, 2 where it was held out."""
        import numpy as np

        return np.frombuffer(self._side, np.int8) if len(self) else np.empty(0, np.int8)


def _numbers(held: array[int]) -> NDArray[np.uint64]:
    import numpy as np

    return np.frombuffer(held, np.uint64) if len(held) else np.empty(0, np.uint64)


def _hash(text: str) -> int:
    """64 bits: in a billion rows one pair collides with a chance of 3 in 100."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1
