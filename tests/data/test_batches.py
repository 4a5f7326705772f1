from __future__ import annotations

from opswright.data.batches import by_length, fitting


def test_a_batch_holds_sequences_of_one_length_and_no_more_than_fit() -> None:
    sequences = ["aa", "b", "cc", "dd", "e"]
    assert list(by_length(sequences, 2)) == [[1, 4], [0, 2], [3]]


def test_no_sequence_is_lost() -> None:
    tokens = [[1] * n for n in (3, 5, 3, 3, 5, 1)]
    found = list(by_length(tokens, most=2))
    assert sorted(i for batch in found for i in batch) == list(range(6))


def test_lengths_stand_together_while_little_of_them_is_padding() -> None:
    assert fitting([10, 10, 9, 8, 1, 1], 0.1) == 4  # 3 of padding to 37 tokens
    assert fitting([10, 10, 9, 8, 1, 1], 0.0) == 2
    assert fitting([7], 0.0) == 1 and fitting([], 0.1) == 0 and fitting([0, 0], 0.1) == 2
