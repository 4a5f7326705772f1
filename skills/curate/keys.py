"""What cleaning has to know of each row: hashes and numbers, never its text."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...data.sample import ASSISTANT, Sample, Task, asked_of, text_of
from ...data.text import fingerprint, label_form
from .gather import GatheredRow
from .split import SIDES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def answer_of(sample: Sample) -> str:
    """What is learned as the answer, as text: of a tool call its JSON; empty where there is none."""
    if sample.answer is not None:
        return sample.answer
    last = sample.messages[-1]
    if last["role"] != ASSISTANT:
        return ""
    calls = last.get("tool_calls")
    return json.dumps(calls, sort_keys=True, ensure_ascii=False) if calls else text_of(last)


class RowKeys:
    """Of every row, in order: what it is compared by, in some 26 bytes.

    For `classify` rows are alike by what is asked, and labels by the form in which they are compared. For any
    other task a row is what is asked together with its answer, so that several answers to one prompt stay.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.labelled = task == "classify"
        self.labels: dict[str, int] = {}  # each spelling and its number
        self._files: dict[str, int] = {}
        self._names: list[str] = []
        self._exact, self._words, self._answer, self._prompt = array("I"), array("Q"), array("Q"), array("Q")
        self._tied, self._label, self._file, self._row = array("Q"), array("i"), array("i"), array("I")
        self._side = array("b")

    def __len__(self) -> int:
        return len(self._row)

    def add(self, rows: Sequence[GatheredRow]) -> list[str]:
        """Take in rows; gives the form of each in which similar ones are looked for."""
        return [self._add(row) for row in rows]

    def _add(self, row: GatheredRow) -> str:
        sample, answer = row.sample, answer_of(row.sample)
        said = sample.prompt
        prompt = text_of(said[0]) if len(said) == 1 else "\x1e".join(map(text_of, said))
        words = fingerprint(prompt)
        if self.labelled:
            form = words
            self._exact.append(_hash(prompt) & 0xFFFFFFFF)
            self._words.append(_hash(words))
            self._label.append(self.labels.setdefault(answer, len(self.labels)))
        else:
            about = "\x1e".join((*sample.contexts, *sample.choices))
            meant = fingerprint(answer)
            form = f"{fingerprint(asked_of(sample))} {meant}"
            self._exact.append(_hash(f"{prompt}\x1f{about}\x1f{answer}") & 0xFFFFFFFF)
            self._words.append(_hash(f"{words}\x1f{about}\x1f{meant}"))
            self._prompt.append(_hash(words))
            self._answer.append(_hash(meant))
        if sample.group is not None:
            self._tied.extend([0] * (len(self._row) - len(self._tied)))  # those before have no group
            self._tied.append(_hash(sample.group))
        self._file.append(self._file_number(row.file))
        self._row.append(row.row)
        self._side.append(SIDES.index(row.side))
        return form

    def columns(self) -> dict[str, Any]:
        """What is held of each row, as columns of one length: what another process can go on with."""
        import numpy as np

        nothing = np.zeros(len(self), np.uint64)
        labels = list(self.labels)
        return {
            "exact": self.exact,
            "words": self.words,
            "prompt": nothing if self.labelled else _numbers(self._prompt, "uint64"),
            "answer": nothing if self.labelled else _numbers(self._answer, "uint64"),
            "tied": np.append(_numbers(self._tied, "uint64"), nothing[len(self._tied) :]),
            "label": [labels[label] for label in self._label] if self.labelled else [""] * len(self),
            "file": [self._names[file] for file in self._file],
            "row": _numbers(self._row, "uint32"),
            "side": self.side,
        }

    def take(self, columns: Mapping[str, Any]) -> None:
        """Put rows behind those that are there, as `columns` gave them."""
        tied = columns["tied"]
        if tied.any():
            self._tied.extend([0] * (len(self._row) - len(self._tied)))
            self._tied.frombytes(tied.tobytes())
        for held, name in ((self._exact, "exact"), (self._words, "words"), (self._row, "row")):
            held.frombytes(columns[name].tobytes())
        self._side.frombytes(columns["side"].tobytes())
        self._file.extend(map(self._file_number, columns["file"]))
        if self.labelled:
            self._label.extend(self.labels.setdefault(one, len(self.labels)) for one in columns["label"])
        else:
            self._prompt.frombytes(columns["prompt"].tobytes())
            self._answer.frombytes(columns["answer"].tobytes())

    def _file_number(self, file: str) -> int:
        if file not in self._files:
            self._files[file] = len(self._names)
            self._names.append(file)
        return self._files[file]

    def name(self, at: int) -> str:
        """How reports call a row."""
        return f"{self._names[self._file[at]]} row {self._row[at]}"

    def forget_texts(self) -> None:
        """Give back what only cleaning needs."""
        self._exact, self._words, self._answer = array("I"), array("Q"), array("Q")

    @property
    def exact(self) -> NDArray[np.uint32]:
        """Hash of a row's texts as they are."""
        return _numbers(self._exact, "uint32")

    @property
    def words(self) -> NDArray[np.uint64]:
        """Hash of what makes a row the same as another."""
        return _numbers(self._words, "uint64")

    def meant(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """For some rows, what two have in common whose answers are the same but for their spelling."""
        import numpy as np

        if not self.labelled:
            return _numbers(self._answer, "uint64")[rows]
        forms: dict[str, int] = {}
        same = [forms.setdefault(label_form(label), len(forms)) for label in self.labels]
        found: NDArray[np.uint64] = np.array(same, np.uint64)[self.label[rows]]
        return found

    @property
    def ties(self) -> list[NDArray[np.uint64]]:
        """What rows of one side of a split have in common, 0 for nothing: their group, or what is asked."""
        groups = self._tied
        if groups:
            groups.extend([0] * (len(self) - len(groups)))
        return [_numbers(one, "uint64") for one in (groups, self._prompt) if one]

    @property
    def label(self) -> NDArray[np.int32]:
        """Number of a row's label, as its source spells it; all 0 where answers are free."""
        import numpy as np

        return _numbers(self._label, "int32") if self.labelled else np.zeros(len(self), np.int32)

    @property
    def side(self) -> NDArray[np.int8]:
        """0 for a new row; for a replayed one 1 where it was trained on, 2 where it was held out."""
        return _numbers(self._side, "int8")


def _numbers(held: array[int], kind: str) -> NDArray[Any]:
    import numpy as np

    return np.frombuffer(held, kind) if len(held) else np.empty(0, kind)


def _hash(text: str) -> int:
    """64 bits: in a billion rows one pair collides with a chance of 3 in 100."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1
