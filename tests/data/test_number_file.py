"""A column of numbers in a file says what an array in memory would say."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from opswright.data import number_file
from opswright.data.number_file import NumberFile


def test_what_is_put_in_comes_out_whole_one_by_one_and_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(number_file, "_NUMBERS_AT_ONCE", 7)
    with NumberFile[np.uint32]("I", tmp_path) as column:
        assert len(column) == 0 and column.whole().tolist() == [] and not list(column.pieces())
        column.extend(array("I", range(10)))
        assert column.at(9) == 9, "reading moves the file's place"
        column.extend(np.arange(10, 20, dtype=np.int64))
        assert column.whole().tolist() == list(range(20)) and len(column) == 20
        assert [piece.tolist() for piece in column.pieces()][1] == list(range(7, 14))
        assert [column.at(place) for place in (0, 13, 19)] == [0, 13, 19]
        assert column.whole().dtype == np.uint32
        assert not list(tmp_path.iterdir()), "a process that is killed leaves no file"


@pytest.mark.parametrize("parts", [1, 3])
def test_the_parts_of_a_column_are_its_marked_numbers_each_once(
    parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(number_file, "_NUMBERS_AT_ONCE", 100)
    draw = np.random.default_rng(1)
    numbers, among = draw.integers(0, 2**64, 450, np.uint64), draw.random(450) < 0.7
    with NumberFile[np.uint64]("Q") as column:
        column.extend(numbers)
        found = [column.part(among, part, parts) for part in range(parts)]
    for part, (places, held) in enumerate(found):
        assert (np.diff(places) > 0).all() and held.tolist() == numbers[places].tolist()
        assert set((held % np.uint64(parts)).tolist()) <= {part}
    assert sorted(np.concatenate([places for places, _ in found])) == np.flatnonzero(among).tolist()
