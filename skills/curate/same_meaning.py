"""Rows that mean what an earlier one does: found by vectors in Milvus, and left out like near-duplicates."""

from __future__ import annotations

import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, overload

from ...core.contract import StepContext
from ...core.errors import AskError
from ...data.rows import Reason
from ...data.sample import asked_of
from ...data.similar import Pairs
from .clean import Verdicts, leave_alike
from .gather import GatheredRow
from .request import SemanticDuplicates
from .stages import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_ROWS = 100_000  # Milvus Lite holds every vector, and walks all of them for some 200 rows at once
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_OFFLINE = "offline: word pieces of these rows"


@dataclass(frozen=True)
class SameMeaning:
    """How rows were compared.

    pairs: at the cosine or above it, with the same numbers; differ: of these, with different answers.
    """

    embedder: str
    min_cosine: float
    compared: int
    pairs: int
    differ: int

    def document(self) -> dict[str, Any]:
        """What a dataset's report says."""
        return {
            "embedder": self.embedder,
            "min_cosine": self.min_cosine,
            "compared": self.compared,
            "pairs": self.pairs,
            "answers_differ": self.differ,
        }


def leave_same_meaning(
    asked: SemanticDuplicates,
    rows: Iterator[GatheredRow],
    table: Table,
    verdicts: Verdicts,
    ctx: StepContext,
) -> SameMeaning:
    """Leave out rows whose question means that of an earlier row that stays, and whose answer is the same.

    rows: a pass over all rows of the source. Texts lie on disk. AskError for more than 100,000 rows that
    stay; BackendError where an embedder gives a row no vector.
    """
    import numpy as np

    from ...engines.vectors.similar import SimilarTexts
    from ...evals.scorers.text_vectors import embed_function

    kept = np.flatnonzero(verdicts.kept)
    if len(kept) > _MOST_ROWS:
        raise AskError(
            f"semantic_duplicates compares at most {_MOST_ROWS:,} rows, and {len(kept):,} are left. Leave it "
            "out, or curate the source in parts."
        )
    named = _OFFLINE if asked.embedder is None else f"{asked.embedder.model} at {asked.embedder.url}"
    if len(kept) < 2:
        return SameMeaning(named, asked.min_cosine, len(kept), 0, 0)
    embed = None
    if asked.embedder is not None:
        embed = embed_function(asked.embedder, ctx.workspace.root / "cache" / "embeddings.sqlite", ctx.secret)
    with tempfile.TemporaryDirectory(prefix="opswright-meaning-") as folder, TextFile(Path(folder)) as texts:
        _write(texts, rows, table, verdicts)
        with SimilarTexts.of(texts, Path(folder) / "index", embed) as index:
            found = [
                one
                for one in index.pairs(texts, asked.min_cosine)
                if _numbers(texts[one.first]) == _numbers(texts[one.second])
            ]
    first, second = (
        kept[np.array([getattr(one, name) for one in found], np.int64)] for name in ("first", "second")
    )
    pairs = Pairs(first, second, np.array([one.cosine for one in found]))
    same = _same_answer(table, first, second)
    leave_alike(
        pairs, lambda one, other: _same_answer(table, one, other), verdicts, Reason.SEMANTIC_DUPLICATE
    )
    return SameMeaning(named, asked.min_cosine, len(kept), len(found), int((~same).sum()))


def _numbers(text: str) -> list[str]:
    """The numbers of a text: a table for 5 is not one for 6, however near their vectors lie."""
    return sorted(_NUMBER.findall(text))


def _same_answer(table: Table, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = table.keys.meant(first) == table.keys.meant(second)
    return same


def _write(texts: TextFile, rows: Iterator[GatheredRow], table: Table, verdicts: Verdicts) -> None:
    """Write down what each row asks that stays, in order."""
    at = -1
    for row, taken in zip(rows, table.taken, strict=True):
        at += bool(taken)
        if taken and verdicts.stays(at):
            texts.add(asked_of(row.sample))


class TextFile(Sequence[str]):
    """Texts on disk, by their places. A context manager: the file is gone when it ends."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._ends = array("Q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, text: str) -> None:
        """Put a text behind those that are there."""
        data = text.encode("utf-8", "surrogatepass")
        self._file.seek(self._ends[-1])
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        self._file.seek(self._ends[at])
        data = self._file.read(self._ends[at + 1] - self._ends[at])
        return data.decode("utf-8", "surrogatepass")
