from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opswright.data.similar import Pairs, similar_pairs
from opswright.skills.curate.split import SIDES, choose_sides, find_groups

NOTHING = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def test_similar_rows_and_rows_of_one_group_are_one_group() -> None:
    texts = [
        "transfer 5 dollars to my savings",
        "roll the dice",
        "transfer 6 dollars to my savings",
        "stop",
        "go",
    ]
    pairs = similar_pairs(texts, 0.6)
    users = np.array([0, 0, 0, 7, 7], np.uint64)
    groups = find_groups(np.arange(5, dtype=np.int32), pairs, [users])
    assert groups[0] == groups[2] and groups[3] == groups[4] and len(set(groups.tolist())) == 3


def test_a_row_that_was_left_out_ties_no_groups_together() -> None:
    pairs = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9]))
    assert len(set(find_groups(np.array([0, 2], np.int32), pairs).tolist())) == 2


TRAINED, HELD_OUT = SIDES.index("train"), SIDES.index("validation")


def sides_of(
    groups: Sequence[int], labels: Sequence[int], fixed: Sequence[int], fraction: float, seed: int
) -> list[int]:
    sides = choose_sides(
        np.array(groups, np.int32), np.array(labels, np.int32), np.array(fixed, np.int8), fraction, seed
    )
    return list(sides.tolist())


rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=60)


@settings(max_examples=60)
@given(rows=rows, fraction=st.floats(0, 0.5), seed=st.integers(0, 5))
def test_no_group_is_on_both_sides_and_each_label_keeps_a_training_row(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    groups, labels = [g for g, _ in rows], [label for _, label in rows]
    free = [0] * len(rows)
    sides = sides_of(groups, labels, free, fraction, seed)
    assert all(len({s for g, s in zip(groups, sides, strict=True) if g == one}) == 1 for one in set(groups))
    assert {label for label, s in zip(labels, sides, strict=True) if s == TRAINED} == set(labels)
    assert Counter(sides)[HELD_OUT] <= round(fraction * len(rows)) + 1
    assert sides == sides_of(groups, labels, free, fraction, seed)


def test_the_share_is_met_label_by_label_when_rows_are_alone() -> None:
    labels = [label for label in range(4) for _ in range(100)]
    sides = sides_of(range(400), labels, [0] * 400, 0.1, seed=1)
    held = Counter(label for label, side in zip(labels, sides, strict=True) if side == HELD_OUT)
    assert held == dict.fromkeys(range(4), 10)
    assert sides != sides_of(range(400), labels, [0] * 400, 0.1, seed=2)


def test_rare_labels_share_what_their_few_rows_are_worth() -> None:
    labels = [i // 10 for i in range(200)]  # 20 labels of 10: 2 % is a fifth of a row each
    assert Counter(sides_of(range(200), labels, [0] * 200, 0.02, seed=1))[HELD_OUT] == 4


def test_a_label_with_one_row_keeps_it_for_training() -> None:
    assert sides_of([0, 1], [0, 1], [0, 0], 0.5, seed=1) == [TRAINED, TRAINED]


def test_a_replayed_row_stays_on_its_side_and_takes_its_group_along() -> None:
    fixed = [HELD_OUT, 0, TRAINED, HELD_OUT, 0]
    sides = sides_of([0, 0, 1, 1, 2], [0] * 5, fixed, 0.5, 1)
    assert sides == [HELD_OUT, HELD_OUT, TRAINED, TRAINED, TRAINED]
