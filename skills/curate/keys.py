"""What cleaning has to know of each row: hashes and numbers, never its text."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ...data.number_file import NumberFile
from ...data.sample import ASSISTANT, Sample, Task, asked_of, text_of
from ...data.text import fingerprint, label_form
from .gather import GatheredRow
from .split import SIDES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CODES = {  # of `array`: what a column holds of each row
    "exact": "I",
    "words": "Q",
    "prompt": "Q",
    "answer": "Q",
    "tied": "Q",
    "label": "i",
    "file": "i",
    "row": "I",
    "side": "b",
}
_OF_LABELS, _OF_FREE_ANSWERS = ("label",), ("prompt", "answer")


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
    """Of every row, in order: what it is compared by, some 40 bytes in files. A context manager.

    For `classify` rows are alike by what is asked, and labels by the form in which they are compared. For any
    other task a row is what is asked together with its answer, so that several answers to one prompt stay.
    A property reads its whole column: what a stage does not need is not in memory meanwhile.
    """

    def __init__(self, task: Task, folder: Path | None = None) -> None:
        self.task = task
        self.labelled = task == "classify"
        self.labels: dict[str, int] = {}  # each spelling and its number
        self._files: dict[str, int] = {}
        self._names: list[str] = []
        self._grouped = False
        self._open = ExitStack()
        needless = _OF_FREE_ANSWERS if self.labelled else _OF_LABELS
        self._new = {name: array(code) for name, code in _CODES.items() if name not in needless}
        self._columns: dict[str, NumberFile[Any]] = {
            name: self._open.enter_context(NumberFile(new.typecode, folder))
            for name, new in self._new.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self._columns["row"])

    def add(self, rows: Sequence[GatheredRow]) -> list[str]:
        """Take in rows; gives the form of each in which similar ones are looked for."""
        forms = [self._add(row) for row in rows]
        for name, new in self._new.items():
            self._columns[name].extend(new)
            del new[:]
        return forms

    def _add(self, row: GatheredRow) -> str:
        sample, answer, new = row.sample, answer_of(row.sample), self._new
        said = sample.prompt
        prompt = text_of(said[0]) if len(said) == 1 else "\x1e".join(map(text_of, said))
        words = fingerprint(prompt)
        if self.labelled:
            form = words
            new["exact"].append(_hash(prompt) & 0xFFFFFFFF)
            new["words"].append(_hash(words))
            new["label"].append(self.labels.setdefault(answer, len(self.labels)))
        else:
            about = "\x1e".join((*sample.contexts, *sample.choices))
            meant = fingerprint(answer)
            form = f"{fingerprint(asked_of(sample))} {meant}"
            new["exact"].append(_hash(f"{prompt}\x1f{about}\x1f{answer}") & 0xFFFFFFFF)
            new["words"].append(_hash(f"{words}\x1f{about}\x1f{meant}"))
            new["prompt"].append(_hash(words))
            new["answer"].append(_hash(meant))
        self._grouped |= sample.group is not None
        new["tied"].append(0 if sample.group is None else _hash(sample.group))
        new["file"].append(self._file_number(row.file))
        new["row"].append(row.row)
        new["side"].append(SIDES.index(row.side))
        return form

    def columns(self) -> dict[str, Any]:
        """What is held of each row, as columns of one length: what another process can go on with."""
        import numpy as np

        nothing = np.zeros(len(self), np.uint64)
        labels = list(self.labels)
        found = {name: column.whole() for name, column in self._columns.items()}
        return {
            **dict.fromkeys(_OF_FREE_ANSWERS, nothing),
            **found,
            "label": [labels[label] for label in found["label"]] if self.labelled else [""] * len(self),
            "file": [self._names[file] for file in found["file"]],
        }

    def take(self, columns: Mapping[str, Any]) -> None:
        """Put rows behind those that are there, as `columns` gave them."""
        import numpy as np

        self._grouped |= bool(columns["tied"].any())
        for name, column in self._columns.items():
            new = columns[name]
            if name == "file":
                new = np.array([self._file_number(one) for one in new], np.int32)
            elif name == "label":
                new = np.array([self.labels.setdefault(one, len(self.labels)) for one in new], np.int32)
            column.extend(new)

    def _file_number(self, file: str) -> int:
        if file not in self._files:
            self._files[file] = len(self._names)
            self._names.append(file)
        return self._files[file]

    def name(self, at: int) -> str:
        """How reports call a row."""
        return f"{self._names[self._columns['file'].at(at)]} row {self._columns['row'].at(at)}"

    @property
    def exact(self) -> NDArray[np.uint32]:
        """Hash of a row's texts as they are."""
        return self._columns["exact"].whole()

    @property
    def words(self) -> NumberFile[np.uint64]:
        """Hash of what makes a row the same as another."""
        return self._columns["words"]

    def meant(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """For some rows, what two have in common whose answers are the same but for their spelling."""
        import numpy as np

        found: NDArray[np.uint64]
        if not self.labelled:
            found = self._columns["answer"].whole()[rows]
            return found
        forms: dict[str, int] = {}
        same = [forms.setdefault(label_form(label), len(forms)) for label in self.labels]
        found = np.array(same, np.uint64)[self.label[rows]]
        return found

    @property
    def ties(self) -> Iterator[NDArray[np.uint64]]:
        """What rows of one side of a split have in common, 0 for nothing: their group, or what is asked."""
        if self._grouped:
            yield self._columns["tied"].whole()
        if not self.labelled:
            yield self._columns["prompt"].whole()

    @property
    def label(self) -> NDArray[np.int32]:
        """Number of a row's label, as its source spells it; all 0 where answers are free."""
        import numpy as np

        return self._columns["label"].whole() if self.labelled else np.zeros(len(self), np.int32)

    @property
    def side(self) -> NDArray[np.int8]:
        """0 for a new row; for a replayed one 1 where it was trained on, 2 where it was held out."""
        return self._columns["side"].whole()


def _hash(text: str) -> int:
    """64 bits: in a billion rows one pair collides with a chance of 3 in 100."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1
