"""What curating holds of a row, and that what it makes of rows does not depend on it."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from opswright.data.similar import Pairs
from opswright.skills.curate import CurateRequest, clean, curate
from opswright.skills.curate.clean import Verdicts, leave_equal
from opswright.skills.curate.keys import RowKeys
from opswright.skills.curate.stages import choose

Rows = list[dict[str, Any]]
NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def texts(seed: int, n: int, words: int) -> list[str]:
    draw = random.Random(seed)
    known = ["".join(draw.choices("abcdefgh", k=draw.randint(3, 7))) for _ in range(300)]
    return [" ".join(draw.choices(known, k=words)) for _ in range(n)]


def labelled() -> Rows:
    """Short rows with exact, normalised and near copies, contradictions and groups."""
    said = texts(1, 120, 9)
    rows = [{"text": text, "label": f"l{n % 3}", "group": f"g{n % 50}"} for n, text in enumerate(said)]
    rows += [{"text": f"{text} so", "label": f"l{n % 3}"} for n, text in enumerate(said[:30])]
    rows += [{"text": text, "label": f"l{n % 3}"} for n, text in enumerate(said[20:50], 20)]
    rows += [{"text": text.upper(), "label": f"l{n % 3}"} for n, text in enumerate(said[50:70], 50)]
    return rows + [{"text": text, "label": "l9"} for text in said[70:80]] + [{"label": "l1"}]


def documents() -> Rows:
    """Free answers, some nearly the same, several to one question."""
    said = texts(2, 50, 120)
    rows = [{"question": f"Tell me of {text[:9]}", "answer": text} for text in said]
    rows += [{"question": f"Tell me of {text[:9]}", "answer": f"{text} and so on"} for text in said[:20]]
    return rows + [{"question": f"Tell me of {text[:9]}", "answer": "No."} for text in said[10:20]]


def chats() -> Rows:
    """Conversations, some of them the same."""
    said = texts(3, 60, 30)
    return [
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": said[n % 50]},
                {"role": "assistant", "content": said[(n + 1) % 50]},
            ],
            "group": f"person {n % 20}",
        }
        for n in range(100)
    ]


SHAPES = {
    "labelled": (labelled, "b861c7d5bc856b24"),
    "documents": (documents, "86b3fb2bb977a1da"),
    "chats": (chats, "befc2759e82a9063"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_mb", [16, 512])
def test_the_same_dataset_is_made_of_the_same_rows_as_ever(
    shape: str, memory_mb: int, tmp_path: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, known = SHAPES[shape]
    if memory_mb == 16:
        monkeypatch.setattr(clean, "_ROWS_AT_ONCE", 20)
    source, ctx = tmp_path / "rows.jsonl", context()
    source.write_text("".join(json.dumps(row) + "\n" for row in make()))
    request = CurateRequest(
        source=source, near_duplicate_jaccard=0.8, validation_fraction=0.2, memory_mb=memory_mb
    )
    made = ctx.artifacts.open(curate(request, ctx).dataset).path
    rows = pq.read_table(made / "rows.parquet").to_pylist()
    left_out = (made / "dropped.jsonl").read_text()
    assert {"labelled": "conflicting_label", "documents": "near_duplicate", "chats": "exact_duplicate"}[
        shape
    ] in left_out
    found = json.dumps(rows) + left_out + (made / "train.jsonl").read_text()
    assert hashlib.sha256(found.encode()).hexdigest()[:16] == known


def test_what_is_done_for_a_row_does_not_grow_with_the_number_of_rows(
    tmp_path: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at_all, kept = [0], vars(Verdicts)["kept"].fget
    assert kept is not None

    def counted(verdicts: Verdicts) -> Any:
        looked_at_all[0] += 1
        return kept(verdicts)

    monkeypatch.setattr(Verdicts, "kept", property(counted))
    source, ctx = tmp_path / "rows.jsonl", context()
    source.write_text("".join(json.dumps(row) + "\n" for row in labelled()))
    result = curate(CurateRequest(source=source), ctx)
    assert sum(result.dropped.values()) > 50 and looked_at_all[0] < 10


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """What is held at most, in bytes, beyond what was held at the beginning."""
    tracemalloc.start()
    begin = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[1] - begin
    tracemalloc.stop()


def many_rows(n: int, task: str) -> dict[str, Any]:
    draw = np.random.default_rng(1)
    words = draw.integers(1, 2**63, n, np.uint64)
    words[n // 2 : n // 2 + n // 10] = words[: n // 10]
    return {
        "exact": words.astype(np.uint32),
        "words": words,
        "prompt": words,
        "answer": words,
        "tied": np.zeros(n, np.uint64),
        "label": [f"l{one % 20}" for one in range(n)],
        "file": ["rows.jsonl"] * n,
        "row": np.arange(1, n + 1, dtype=np.uint32),
        "side": np.zeros(n, np.int8),
    }


@pytest.mark.parametrize(("task", "to_clean", "to_split"), [("classify", 40, 60), ("generate", 40, 80)])
def test_what_is_held_of_a_row_is_some_tens_of_bytes_while_a_stage_needs_it(
    task: Any, to_clean: int, to_split: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 300_000
    monkeypatch.setattr(clean, "_ROWS_AT_ONCE", 20_000)
    columns = many_rows(n, task)
    with RowKeys(task) as keys:
        keys.take(columns)
        with traced() as held:
            verdicts = Verdicts.of(n)
            leave_equal(keys, verdicts)
            assert held() < to_clean * n
        assert (~verdicts.kept).sum() >= n // 10
        with traced() as held:
            chosen = choose(keys, verdicts, NO_PAIRS, CurateRequest(source=Path("x")))
            assert held() < to_split * n
        assert len(chosen.rows) == verdicts.kept.sum()
        with traced() as held:
            assert keys.name(n - 1) == f"rows.jsonl row {n}"
            assert held() < 100_000
