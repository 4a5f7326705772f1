"""A Milvus collection of texts: written by id, searched by words and by meaning at once, with filters.

The same on a file of Milvus Lite and on any Milvus server: only what `connect` is given differs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import BackendError, NeedsError
from .candidates import Candidate, TextHit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pymilvus import MilvusClient

ID, TEXT, DENSE, SPARSE = "id", "text", "dense", "sparse"
_TEXT_BYTES = 16_000  # of a text that is kept; Milvus takes 65,535
_ID_BYTES = 200
_LABEL_BYTES = 400
_AT_ONCE = 1000

Sparse = dict[int, float]
"""Weights by dimension, from 0 to 2**32 - 2: below 2**31 of words, above of what the text means."""


@dataclass(frozen=True)
class Column:
    """A value beside each text that filters can ask for: a short text, or an integer."""

    name: str
    kind: Literal["text", "number"]


@dataclass(frozen=True)
class TextRow:
    """One text with its vectors. dense: float (dimensions,); sparse: weights of its words and meaning."""

    id: str
    text: str
    dense: NDArray[np.float32]
    sparse: Sparse
    values: Mapping[str, str | int] = field(default_factory=dict)


def install_hint() -> str:
    """What to type where pymilvus or Milvus Lite is missing."""
    return "pip install -c constraints.txt 'opswright[memory]'"


def connect(uri: str, token: str | None = None, timeout_s: float = 10) -> MilvusClient:
    """A client of a Milvus server; NeedsError without pymilvus, BackendError where none answers."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise NeedsError(f"pymilvus is not installed: {install_hint()}") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what fails is raised, and told once
    with _told(f"connecting to Milvus at {uri}"):
        return MilvusClient(uri, token=token or "", timeout=timeout_s)


class VectorCollection:
    """One collection of a Milvus, by name."""

    def __init__(self, client: MilvusClient, name: str, columns: Sequence[Column]) -> None:
        self._client, self.name, self._columns = client, name, tuple(columns)

    @property
    def exists(self) -> bool:
        """Whether Milvus has it."""
        with _told(f"looking for collection {self.name}"):
            return bool(self._client.has_collection(self.name))

    def create(self, dimensions: int) -> None:
        """Make it, empty; one of that name is dropped first. dimensions: of the dense vectors."""
        from pymilvus import DataType

        with _told(f"making collection {self.name}"):
            self._client.drop_collection(self.name)
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=_ID_BYTES)
            schema.add_field(TEXT, DataType.VARCHAR, max_length=65_535)
            schema.add_field(DENSE, DataType.FLOAT_VECTOR, dim=dimensions)
            schema.add_field(SPARSE, DataType.SPARSE_FLOAT_VECTOR)
            for column in self._columns:
                if column.kind == "text":
                    schema.add_field(column.name, DataType.VARCHAR, max_length=_LABEL_BYTES)
                else:
                    schema.add_field(column.name, DataType.INT64)
            indexes = self._client.prepare_index_params()
            # exact: what is indexed here is small enough, and a citation that is missed is not found again
            indexes.add_index(DENSE, index_type="FLAT", metric_type="IP")
            indexes.add_index(SPARSE, index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
            self._client.create_collection(self.name, schema=schema, index_params=indexes)

    def load(self) -> None:
        """Make it ready to be searched, as one that was opened from files has to be."""
        with _told(f"loading collection {self.name}"):
            self._client.load_collection(self.name)

    def upsert(self, rows: Sequence[TextRow]) -> None:
        """Write rows; a row of the same id is replaced. Texts are cut at 16,000 bytes."""
        with _told(f"writing to collection {self.name}"):
            for at in range(0, len(rows), _AT_ONCE):
                self._client.upsert(self.name, [self._row(row) for row in rows[at : at + _AT_ONCE]])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows by id; ids that are not there are no error."""
        if ids:
            with _told(f"deleting from collection {self.name}"):
                self._client.delete(self.name, ids=list(ids))

    def flush(self) -> None:
        """Put everything that was written on disk, in the form that is searched quickly."""
        with _told(f"flushing collection {self.name}"):
            self._client.flush(self.name)

    def drop(self) -> None:
        """Delete the whole collection."""
        with _told(f"dropping collection {self.name}"):
            self._client.drop_collection(self.name)

    def count(self) -> int:
        """How many rows it has."""
        with _told(f"counting collection {self.name}"):
            found = self._client.query(self.name, filter="", output_fields=["count(*)"])
            return int(found[0]["count(*)"])

    def search(
        self,
        words: Sparse,
        meaning: Sparse,
        dense: NDArray[np.float32] | None,
        limit: int,
        condition: str = "",
    ) -> list[Candidate]:
        """The rows nearest by words, and those nearest by a quantiser's terms: at most `limit` of each.

        One search of one index for both: Milvus Lite walks all rows for each search. dense: the question's
        vector, which those of the rows are compared with.
        """
        asked = [one for one in (words, meaning) if one]
        if not asked:
            return []
        fields = [TEXT, *(column.name for column in self._columns), *([DENSE] if dense is not None else [])]
        with _told(f"searching collection {self.name}"):
            found = self._client.search(
                self.name, asked, filter=condition, limit=limit, output_fields=fields, anns_field=SPARSE,
                search_params={"metric_type": "IP"},
            )  # fmt: skip
        scores = {str(one[ID]): float(one["distance"]) for one in found[0]} if words else {}
        return _candidates([one for hits in found for one in hits], scores, dense)

    def nearest(self, dense: NDArray[np.float32], limit: int) -> list[list[TextHit]]:
        """For each of some vectors, (n, dimensions), the rows with the greatest inner product, best first."""
        columns = [column.name for column in self._columns]
        with _told(f"searching collection {self.name}"):
            found = self._client.search(
                self.name, list(dense), limit=limit, output_fields=columns, anns_field=DENSE,
                search_params={"metric_type": "IP"},
            )  # fmt: skip
        return [[_hit(one) for one in hits] for hits in found]

    def _row(self, row: TextRow) -> dict[str, Any]:
        values = {
            column.name: cut_bytes(str(row.values.get(column.name, "")), _LABEL_BYTES)
            if column.kind == "text"
            else int(row.values.get(column.name, 0))
            for column in self._columns
        }
        # a text without one word has no sparse vector, which Milvus does not take
        sparse = row.sparse or {0: 1e-6}
        return {
            ID: row.id,
            TEXT: cut_bytes(row.text, _TEXT_BYTES),
            DENSE: row.dense,
            SPARSE: sparse,
            **values,
        }


_NO_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32)}


def is_one_of(column: str, values: Sequence[str]) -> str:
    """The condition that a text column holds one of some values, however those are written.

    A control character, for which Milvus has no escape, is one that no column holds.
    """
    plain = [_plain(value).translate(_NO_CONTROL) for value in values]
    return f"{column} in {json.dumps(plain, ensure_ascii=False)}"


def cut_bytes(text: str, most: int) -> str:
    """The text as UTF-8 can hold it, cut to so many bytes of it at a whole character."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _plain(value: str) -> str:
    return cut_bytes(value, _LABEL_BYTES)


def _candidates(
    found: Sequence[Mapping[str, Any]], scores: Mapping[str, float], dense: NDArray[np.float32] | None
) -> list[Candidate]:
    """Rows, each once, with the cosine of their own vectors."""
    import numpy as np

    rows = {str(one[ID]): dict(one["entity"]) for one in found}
    cosines = np.zeros(len(rows), np.float32)
    if dense is not None and rows:
        cosines = np.asarray([row.pop(DENSE) for row in rows.values()], np.float32) @ dense
    return [
        Candidate(name, scores.get(name, 0.0), float(cosine), str(row.pop(TEXT, "")), row)
        for (name, row), cosine in zip(rows.items(), cosines, strict=True)
    ]


def _hit(found: Mapping[str, Any]) -> TextHit:
    entity = dict(found["entity"])
    return TextHit(str(found[ID]), float(found["distance"]), str(entity.pop(TEXT, "")), entity)


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """What Milvus and its transport raise, as an error of the family."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
        message = getattr(error, "message", "") or str(error) or type(error).__name__
        raise BackendError(f"Milvus failed while {doing}: {message}") from error
