"""What workers do with a table of rows. Each function depends on its arguments alone: it may be done again.

A row is known by its number in the whole source; what comes earlier has the smaller one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ....core.errors import IntegrityError
from ....data.sample import Sample
from ....data.shingle_files import ShingleFiles, write_shingles
from ....data.shingles import hash_shingles, in_batches
from ....data.similar import MOST_PARTNERS, BandHasher, run_pairs
from ..clean import Verdicts, leave_equal
from ..gather import GatheredRow
from ..judge import Judged, RowJudge
from ..keys import RowKeys, answer_of
from ..stages import row_batches
from .work import Work, read_work

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_EQUAL_COLUMNS = ["number", "reason", "exact", "words", "answer", "label", "side"]
_NUMBERS = {"exact": "uint32", "row": "uint32", "side": "int8"}  # others are uint64
_SHINGLES_AT_ONCE = 2_000_000


@cache
def _judge(folder: str) -> RowJudge:
    return RowJudge(read_work(folder).rules)


def mark(table: pa.Table, folder: str) -> pa.Table:
    """Of the rows of a part: why each is left out, if it is, and by what the others are compared.

    Their shingles are written beside.
    """
    work = read_work(folder)
    columns = table.to_pydict()
    rows = [
        GatheredRow(file, row, Sample.from_document(json.loads(sample)), side)
        for file, row, sample, side in zip(*(columns[name] for name in _ROW_COLUMNS), strict=True)
    ]
    judged, answered = list[Judged](), columns["own"]
    for batch in row_batches(iter(rows)):
        begin = len(judged)
        judged += _judge(folder).judge(batch, answered[begin : begin + len(batch)])
    kept = [at for at, one in enumerate(judged) if one.fault is None]
    first = columns["number"][0]
    with RowKeys(work.task) as keys:
        forms = keys.add([rows[at] for at in kept])
        bands = _write_forms(forms, kept, len(rows), first, work)
        if not keys.labelled:
            _write_answers([answer_of(rows[at].sample) for at in kept], kept, len(rows), first, work)
        return _marks(columns["number"], judged, keys.columns(), bands, kept)


_ROW_COLUMNS = ("file", "row", "sample", "side")


def _write_forms(forms: Sequence[str], kept: list[int], n: int, first: int, work: Work) -> NDArray[np.uint64]:
    """Write the shingles of the rows kept of n; gives their keys, (kept, bands)."""
    import numpy as np

    hasher = BandHasher(work.least)
    shingles, counts, keys = [np.empty(0, np.uint32)], [np.empty(0, np.int64)], list[Any]()
    for batch in in_batches(forms):
        mine, sizes = hash_shingles(batch)
        shingles.append(mine)
        counts.append(sizes)
        keys.append(np.stack(hasher.keys(mine, sizes), axis=1))
    write_shingles(work.shingles, first, np.concatenate(shingles), _spread(np.concatenate(counts), kept, n))
    found: NDArray[np.uint64] = np.concatenate([np.empty((0, hasher.bands), np.uint64), *keys])
    return found


def _write_answers(answers: Sequence[str], kept: list[int], n: int, first: int, work: Work) -> None:
    import numpy as np

    made = [hash_shingles(batch) for batch in in_batches(answers)]
    shingles = np.concatenate([np.empty(0, np.uint32), *(one for one, _ in made)])
    counts = np.concatenate([np.empty(0, np.int64), *(sizes for _, sizes in made)])
    write_shingles(work.answers, first, shingles, _spread(counts, kept, n))


def _spread(values: NDArray[Any], kept: list[int], n: int) -> NDArray[Any]:
    """The values at the places of the rows kept of n, zeros elsewhere."""
    import numpy as np

    spread = np.zeros(n, values.dtype)
    spread[kept] = values
    return spread


def _marks(
    numbers: list[int],
    judged: Sequence[Judged],
    keys: dict[str, Any],
    bands: NDArray[np.uint64],
    kept: list[int],
) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    n = len(numbers)
    columns = {
        "number": pa.array(numbers, pa.int64()),
        "reason": pa.array([one.fault and str(one.fault.reason) for one in judged], pa.string()),
        "detail": pa.array([one.fault and one.fault.detail for one in judged], pa.string()),
        "is_own": pa.array([one.is_own for one in judged], pa.bool_()),
    }
    for name, held in keys.items():
        if name in ("label", "file"):
            spread = np.full(n, "", object)
            spread[kept] = held
            columns[name] = pa.array(spread, pa.string())
        else:
            columns[name] = pa.array(_spread(np.asarray(held), kept, n))
    texts = np.full(n, b"", object)
    texts[kept] = [row.tobytes() for row in bands]
    columns["bands"] = pa.array(texts, pa.binary())
    return pa.table(columns)


def by_words(files: pa.Table, parts: int) -> pa.Table:
    """The rows of files of marks that were kept, each with the partition of those with its words."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _read(files, _EQUAL_COLUMNS)
    kept = table.filter(pc.is_null(table["reason"])).drop_columns(["reason"])
    part = kept["words"].to_numpy() % np.uint64(parts)
    return kept.append_column("part", pa.array(part.astype(np.int32)))


def _read(files: pa.Table, columns: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables([pq.read_table(path, columns=columns) for path in files["path"].to_pylist()])


def equal_rows(table: pa.Table, folder: str) -> pa.Table:
    """Of a partition of rows those left out for others with the same words.

    Columns: number, reason, other (the row because of which), labels (JSON; of the first row of words that
    came with several labels, which has no reason here unless it is left out itself).
    """
    import numpy as np

    table = table.sort_by("number")
    verdicts = Verdicts.of(len(table))
    with RowKeys(read_work(folder).task) as keys:
        nothing = np.zeros(len(table), np.uint64)
        needless = {"tied": nothing, "prompt": nothing, "row": nothing, "file": [""] * len(table)}
        keys.take({**keys_of(table), **needless})
        leave_equal(keys, verdicts)
    numbers = table["number"].to_numpy()
    gone = np.flatnonzero(~verdicts.kept)
    rows: list[tuple[int, str | None, int, str | None]] = [
        (int(numbers[at]), str(verdicts.reason_of(at)), int(numbers[verdicts.other[at]]), None)
        for at in gone.tolist()
    ]
    rows += [(int(numbers[at]), None, -1, json.dumps(labels)) for at, labels in verdicts.conflicts.items()]
    return _table(rows, equal_schema())


def keys_of(table: pa.Table) -> dict[str, Any]:
    """The columns of a table of marks as `RowKeys.take` takes them."""
    import numpy as np

    found: dict[str, Any] = {}
    for name in table.column_names:
        if name in ("label", "file"):
            found[name] = table[name].to_pylist()
        elif name in ("exact", "words", "prompt", "answer", "tied", "row", "side"):
            found[name] = table[name].to_numpy().astype(np.dtype(_NUMBERS.get(name, "uint64")))
    return found


def equal_schema() -> pa.Schema:
    """The columns of `equal_rows`."""
    import pyarrow as pa

    return pa.schema(
        [("number", pa.int64()), ("reason", pa.string()), ("other", pa.int64()), ("labels", pa.string())]
    )


def left_out_bits(equal: pa.Table, rows: int) -> bytes:
    """A bit for each row of the source: whether `equal_rows` left it out."""
    import numpy as np
    import pyarrow.compute as pc

    bits = np.zeros(rows, bool)
    bits[equal.filter(pc.is_valid(equal["reason"]))["number"].to_numpy()] = True
    return np.packbits(bits).tobytes()


def by_band(files: pa.Table, left_out: bytes, parts: int) -> pa.Table:
    """A row for each band of each row that is still there: its key, and the partition of those with that key.

    files: the paths of files of marks. left_out: as `left_out_bits` gives it.
    """
    import numpy as np
    import pyarrow as pa

    table = _read(files, ["number", "bands"])
    numbers = table["number"].to_numpy()
    bits = np.frombuffer(left_out, np.uint8)
    texts = table["bands"].to_pylist()
    here = [at for at, n in enumerate(numbers.tolist()) if texts[at] and not bits[n >> 3] & (128 >> (n & 7))]
    keys = np.frombuffer(b"".join(texts[at] for at in here), np.uint64)
    bands = len(keys) // max(1, len(here))
    band = np.tile(np.arange(bands, dtype=np.int16), len(here))
    part = (keys + band.astype(np.uint64)) % np.uint64(parts)
    columns = {"band": band, "key": keys, "number": np.repeat(numbers[here], bands)}
    return pa.table({**columns, "part": part.astype(np.int32)})


def agreeing_pairs(table: pa.Table, parts: int) -> pa.Table:
    """The pairs of a partition that agree in a band, by the band; and the partition of the later row."""
    import numpy as np
    import pyarrow as pa

    band, key, number = (table[name].to_numpy() for name in ("band", "key", "number"))
    found = [(np.empty(0, np.int16), np.empty(0, np.int64), np.empty(0, np.int64))]
    for one in np.unique(band):
        mine = np.flatnonzero(band == one)
        mine = mine[np.lexsort((number[mine], key[mine]))]
        rows = number[mine]
        for first, second in run_pairs(key[mine], np.ones(len(mine), bool)):
            found.append((np.full(len(first), one, np.int16), rows[first], rows[second]))
    bands, firsts, seconds = map(np.concatenate, zip(*found, strict=True))
    part = (seconds % parts).astype(np.int32)
    return pa.table({"band": bands, "first": firsts, "second": seconds, "part": part})


def similar_rows(table: pa.Table, folder: str) -> pa.Table:
    """Of the pairs that agree in a band those whose Jaccard is enough.

    Columns: first, second, jaccard, same_answer (where answers are free: whether they are nearly the same).
    """
    import numpy as np

    work = read_work(folder)
    band, first, second = (table[name].to_numpy() for name in ("band", "first", "second"))
    first, second = _partners(band, first, second)
    keep, jaccard = ShingleFiles(work.shingles).similar(first, second, work.least, _SHINGLES_AT_ONCE)
    first, second = first[keep], second[keep]
    same = np.zeros(len(first), bool)
    near = np.flatnonzero(jaccard >= work.near)
    if work.task != "classify":
        alike, _ = ShingleFiles(work.answers).similar(first[near], second[near], work.near, _SHINGLES_AT_ONCE)
        same[near] = alike
    return pairs_table(first, second, jaccard, same)


def pairs_table(first: Ints, second: Ints, jaccard: NDArray[np.float64], same: NDArray[np.bool_]) -> pa.Table:
    """Pairs of similar rows, as `similar_rows` gives them."""
    import pyarrow as pa

    return pa.table({"first": first, "second": second, "jaccard": jaccard, "same_answer": same})


def _partners(band: NDArray[np.int16], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Each pair once. A row that has 200 partners when a band begins takes none of that band.

    It is what `SimilarityIndex` does band by band, here for each row alone.
    """
    import numpy as np

    order = np.lexsort((first, band, second))
    band, first, second = band[order], first[order], second[order]
    begins = np.flatnonzero(np.diff(second, prepend=second[:1] - 1))
    ends = np.append(begins, len(second))[1:]
    keep = np.ones(len(second), bool)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end - begin > MOST_PARTNERS:
            keep[begin:end] = _within_limit(band[begin:end], first[begin:end])
    pairs = np.unique(np.stack([first[keep], second[keep]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _within_limit(band: NDArray[np.int16], first: Ints) -> NDArray[np.bool_]:
    """Which partners of one row are taken, (pairs,); sorted by band."""
    import numpy as np

    keep = np.zeros(len(band), bool)
    known: set[int] = set()
    for one in np.unique(band):
        if len(known) >= MOST_PARTNERS:
            break
        mine = band == one
        keep |= mine
        known.update(first[mine].tolist())
    return keep


def check_marked(tables: Sequence[tuple[int, int]], rows: int) -> None:
    """IntegrityError unless runs of rows, as first number and count, are all rows, none of them twice."""
    at = 0
    for first, count in sorted(tables):
        if first != at:
            what = "are marked twice" if first < at else "are not marked"
            raise IntegrityError(
                f"rows {min(first, at) + 1} to {max(first, at)} {what}: the folder of marks was changed."
            )
        at += count
    if at != rows:
        raise IntegrityError(f"{at} of {rows} rows are marked: the folder of marks was changed.")


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(one, field.type) for one, field in zip(columns, schema, strict=True)], schema)


def no_pairs() -> pa.Table:
    """The table of `similar_rows` where there are none."""
    import numpy as np

    nothing = np.empty(0, np.int64)
    return pairs_table(nothing, nothing, np.empty(0, np.float64), np.empty(0, bool))
