"""Cleaning: leaks, contradictions, duplicates."""

from __future__ import annotations

import random
from typing import Any

import pytest

from opswright.data.similar import rows_of_a_band, similar_pairs
from opswright.skills.curate.clean import Cleaned, clean
from opswright.skills.curate.request import CurateRequest

WORDS = ["card", "bank", "money", "send", "lost", "find", "open", "close", "check", "pin", "bill", "pay"]
WORDS += ["flight", "hotel", "book", "song", "music", "light"]


def run(
    rows: list[tuple[str, str]], golden: tuple[str, ...] = (), replayed: int = 0, **fields: Any
) -> Cleaned:
    """Clean (text, label) rows, the last `replayed` of them from an earlier dataset."""
    import polars as pl

    n = len(rows)
    table = pl.DataFrame(
        {
            "source": ["s"] * n,
            "row": list(range(1, n + 1)),
            "text": [text for text, _ in rows],
            "label": [label for _, label in rows],
            "side": [None] * (n - replayed) + ["train"] * replayed,
        },
        schema_overrides={"side": pl.String},
    )
    return clean(table, golden, CurateRequest(source="x", **fields))


def why(cleaned: Cleaned) -> dict[int, str]:
    return {one.row: str(one.reason) for one in cleaned.dropped}


def test_golden_rows_are_found_verbatim_normalised_and_nearly() -> None:
    golden = ("please transfer 40 dollars to my savings account today", "what's my balance", "book a flight")
    cleaned = run(
        [
            ("what's my balance", "balance"),
            ("Whats my balance", "balance"),
            ("What's my BALANCE?", "balance"),
            ("please transfer 50 dollars to my savings account today", "transfer"),
            ("play some jazz", "music"),
        ],
        golden,
    )
    assert why(cleaned) == {
        1: "golden_verbatim",
        2: "golden_normalised",
        3: "golden_normalised",
        4: "golden_near_duplicate",
    }
    assert "please transfer 40 dollars" in cleaned.dropped[-1].detail
    assert cleaned.kept == [4]


def test_a_row_that_is_only_somewhat_like_a_golden_one_stays() -> None:
    assert run([("book a hotel in rome", "a"), ("play jazz", "b")], ("book a flight to rome",)).kept == [0, 1]


def test_the_same_words_with_two_labels_teach_nothing_and_all_go() -> None:
    cleaned = run([("pay it", "a"), ("Pay it!", "b"), ("pay it", "a"), ("play jazz", "b")])
    assert why(cleaned) == dict.fromkeys((1, 2, 3), "conflicting_label") and cleaned.kept == [3]
    assert cleaned.conflicts == {"pay it": ["a", "b"]} and "labels: a, b" in cleaned.dropped[0].detail


def test_a_new_label_wins_over_a_replayed_one() -> None:
    cleaned = run([("pay it", "new name"), ("pay it", "old name"), ("play jazz", "b")], replayed=2)
    assert cleaned.kept == [0, 2] and why(cleaned) == {2: "conflicting_label"}


def test_equal_rows_stay_once_and_the_first_stays() -> None:
    cleaned = run([("pay it", "a"), ("pay it", "a"), ("PAY it.", "a"), ("play jazz", "b")])
    assert why(cleaned) == {2: "exact_duplicate", 3: "normalised_duplicate"}
    assert cleaned.dropped[0].detail == "of s row 1"


NEAR = [
    ("could you tell me the balance of my savings account now", "balance"),
    ("could you tell me the balance of my savings account noww", "balance"),
    ("could you tell me the balance of my savings account nowww", "other"),
]


def test_nearly_equal_rows_of_one_label_stay_once_and_of_two_labels_both() -> None:
    assert why(run(NEAR)) == {2: "near_duplicate"}
    assert why(run(NEAR, near_duplicate_jaccard=1.0)) == {}


def test_leaks_are_told_before_duplicates_so_the_counts_are_of_leaks() -> None:
    assert why(run([("pay it", "a"), ("pay it", "a")], ("pay it",))) == dict.fromkeys(
        (1, 2), "golden_verbatim"
    )


def noisy(seed: int, n: int) -> list[str]:
    """Sentences, and for half of them a copy with one word changed or added."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(n)]
    for text in texts[: n // 2]:
        words = text.split()
        words[draw.randrange(len(words)) :][:1] = [draw.choice(WORDS)]
        texts.append(" ".join(words) if draw.random() < 0.5 else f"{text} {draw.choice(WORDS)}")
    return texts


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


@pytest.mark.parametrize("least", [0.5, 0.7, 0.8, 0.9])
def test_similar_pairs_are_those_that_comparing_all_with_all_finds(least: float) -> None:
    texts = noisy(5, 160)
    sets = [shingles(text) for text in texts]
    truth = {
        (i, j): score
        for j in range(len(texts))
        for i in range(j)
        if (score := len(sets[i] & sets[j]) / len(sets[i] | sets[j])) >= least
    }
    found = {(i, j): score for i, j, score in similar_pairs(texts, least).each()}
    assert all(score == pytest.approx(truth[pair]) for pair, score in found.items())  # never a wrong one
    assert len(found) >= 0.99 * len(truth) and len(truth) >= 20


def test_texts_shorter_than_a_shingle_are_compared_whole() -> None:
    assert similar_pairs(["yes", "yess", "no"], 0.5).each() == []
    assert [(i, j) for i, j, _ in similar_pairs(["abcdefgh", "no", "abcdefgh"], 0.9).each()] == [(0, 2)]
    assert similar_pairs(["a", "b"], 0.5).each() == similar_pairs(["a"], 0.5).each() == []


def test_a_crowd_of_alike_texts_is_not_compared_all_with_all_but_with_every_golden_one() -> None:
    crowd = [f"please tell me when order number {i:04d} from the shop will arrive" for i in range(1000)]
    golden = (crowd[7] + " then", "please tell me when order number 2002 from the shop will arrive")
    pairs = similar_pairs([*golden, *crowd], 0.6, always=2)
    assert len(pairs.first) < 1000 * 400 < 1000 * 999 / 2
    assert set(pairs.first.tolist()) >= {0, 1} and (pairs.first == 1).sum() == 1000
    cleaned = run([*((text, "order") for text in crowd), ("play jazz", "music")], golden, golden_jaccard=0.7)
    assert [one for one in cleaned.dropped if one.row <= 1000] and cleaned.kept == [1000]


def test_thousands_of_equal_rows_cost_nothing() -> None:
    cleaned = run([("hello", "greeting")] * 5000 + [("bye", "goodbye")])
    assert cleaned.kept == [0, 5000] and why(cleaned)[5000] == "exact_duplicate"


@pytest.mark.parametrize("least", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_bands_propose_999_of_1000_pairs_at_the_threshold(least: float) -> None:
    rows = rows_of_a_band(least)
    assert 1 - (1 - least**rows) ** (128 // rows) >= 0.999
