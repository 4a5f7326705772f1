"""Ranks that hold: differences shown, tiers, rank ranges."""

from __future__ import annotations

import random

import pytest

from opswright.evals.tiers import RankedModel, rank


def scores(right: range, n: int = 400) -> dict[str, float]:
    return {f"i{i}": float(i in right) for i in range(n)}


def by_name(found: list[RankedModel]) -> dict[str, RankedModel]:
    return {one.name: one for one in found}


def test_models_far_apart_have_a_tier_and_a_rank_each() -> None:
    found = rank({"good": scores(range(380)), "bad": scores(range(100)), "fair": scores(range(250))})
    assert [(one.name, one.tier_in_words, one.ranks_in_words) for one in found] == [
        ("good", "1", "1"),
        ("fair", "2", "2"),
        ("bad", "3", "3"),
    ]
    assert found[0].value == 0.95 and found[0].n == 400


def test_a_difference_that_chance_explains_gives_no_rank() -> None:
    found = rank({"a": scores(range(300)), "b": scores(range(303)), "c": scores(range(1, 300))})
    assert {one.tier_in_words for one in found} == {"1"} and {one.ranks_in_words for one in found} == {"1-3"}


def test_a_model_between_two_that_differ_is_in_both_tiers() -> None:
    found = by_name(rank({"top": scores(range(310)), "mid": scores(range(304)), "low": scores(range(298))}))
    assert found["top"].tier_in_words == "1" and found["low"].tier_in_words == "2"
    assert found["mid"].tier_in_words == "1-2" and found["mid"].ranks_in_words == "1-3"
    assert found["top"].ranks_in_words == "1-2" and found["low"].ranks_in_words == "2-3"


def test_only_common_items_are_compared() -> None:
    a, b = scores(range(200)), {f"j{i}": 0.0 for i in range(400)}
    assert [one.ranks_in_words for one in rank({"a": a, "b": b})] == ["1-2", "1-2"]
    shared = b | {f"i{i}": 0.0 for i in range(20)}
    assert [one.ranks_in_words for one in rank({"a": a, "b": shared})] == ["1", "2"]


def test_graded_scores_are_compared_by_their_differences() -> None:
    rng = random.Random(4)
    a = {f"i{i}": min(max(rng.gauss(0.7, 0.1), 0), 1) for i in range(200)}
    near = {name: min(max(score + rng.gauss(0, 0.1), 0), 1) for name, score in a.items()}
    worse = {name: max(score - 0.2, 0) for name, score in near.items()}
    found = by_name(rank({"a": a, "near": near, "worse": worse}))
    assert found["a"].ranks_in_words == found["near"].ranks_in_words == "1-2"
    assert found["worse"].ranks_in_words == "3"


@pytest.mark.parametrize("given", [{}, {"a": {}}])
def test_without_items_nobody_is_ranked(given: dict[str, dict[str, float]]) -> None:
    assert rank(given) == []
    assert [one.ranks_in_words for one in rank({**given, "b": scores(range(3))})] == ["1"]


def test_twelve_equal_models_are_rarely_told_apart() -> None:
    """Uncorrected, some pair of 12 equal models differs on most leaderboards."""
    rng = random.Random(9)
    wrong = 0
    for _ in range(60):
        board = {f"m{m}": {f"i{i}": float(rng.random() < 0.8) for i in range(100)} for m in range(12)}
        wrong += any(one.ranks_in_words != "1-12" for one in rank(board))
    assert wrong <= 9  # of 60: 5 % would be 3; 9 or fewer with probability 0.999
