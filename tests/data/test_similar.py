"""Similar texts: exact, bounded in memory whatever their length and number, the same in every process."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opswright.data.shingles import hash_shingles
from opswright.data.similar import SimilarityIndex, similar_pairs


def shingles(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def jaccard(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def documents(n: int, words: int, near: int) -> list[str]:
    """Documents of made-up words, and of the first ones copies with a word in 40 changed."""
    draw = random.Random(1)
    known = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 7))) for _ in range(800)]
    texts = [" ".join(draw.choices(known, k=words)) for _ in range(n)]
    for text in texts[:near]:
        changed = text.split()
        for _ in range(words // 40):
            changed[draw.randrange(words)] += "x"
        texts.append(" ".join(changed))
    return texts


@settings(max_examples=50)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_a_text_has_as_many_hashes_as_shingles_and_equal_texts_the_same(texts: list[str]) -> None:
    flat, counts = hash_shingles(texts)
    assert counts.tolist() == [len(shingles(text)) for text in texts]
    assert len(flat) == counts.sum()
    parts = np.split(flat, np.cumsum(counts)[:-1])
    for text, part in zip(texts, parts, strict=True):
        assert part.tolist() == hash_shingles([text])[0].tolist() == sorted(set(part.tolist()))


def test_long_documents_are_found_with_their_exact_jaccard_and_no_others() -> None:
    texts = documents(300, 320, 40)
    found = {(i, j): score for i, j, score in similar_pairs(texts, 0.7).each()}
    assert set(found) >= {(i, 300 + i) for i in range(40)}
    assert all(
        score == pytest.approx(jaccard(texts[i], texts[j]), abs=1e-3) for (i, j), score in found.items()
    )


def test_what_is_found_does_not_depend_on_the_memory_or_on_how_texts_come() -> None:
    texts = documents(400, 12, 100)
    whole = similar_pairs(texts, 0.6).each()
    with SimilarityIndex(0.6, memory_bytes=20_000) as index:
        for start in range(0, len(texts), 37):
            index.add(texts[start : start + 37])
        assert index.pairs().each() == whole and len(whole) >= 50
        among = np.zeros(len(texts), bool)
        among[[0, 400, 1]] = True
        assert {(i, j) for i, j, _ in index.pairs(among).each()} <= {(0, 400)}


def test_the_memory_of_long_documents_is_bounded() -> None:
    texts = documents(400, 2000, 100)  # 10 kB each, 1.5 million shingles
    tracemalloc.start()
    with SimilarityIndex(0.7, memory_bytes=1 << 20) as index:
        for start in range(0, len(texts), 10):
            index.add(texts[start : start + 10])
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert len(index.pairs().first) >= 100
        peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 16 << 20  # all at once would take ten times as much


def test_the_memory_of_pairs_that_are_proposed_and_not_alike_is_bounded() -> None:
    draw = random.Random(3)

    def words(n: int) -> str:
        return " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(n))

    shared = words(12)
    texts = [f"{shared} {words(3)}" for _ in range(1500)]  # Jaccard about 0.66: 150,000 pairs agree in a band
    with SimilarityIndex(0.7, memory_bytes=1 << 19) as index:
        index.add(texts)
        tracemalloc.start()
        found = index.pairs()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 15 << 20  # all at once take twice as much
    assert all(score >= 0.7 for _, _, score in found.each())


@pytest.mark.parametrize(
    "texts", [[], [""], ["", ""], ["\0", "\0\0"], ["a" * 100_000, "b"], ["\ud83d abcdef", "x"]]
)
def test_odd_texts_are_no_errors(texts: list[str]) -> None:
    same = [(0, 1)] if texts == ["", ""] else []
    assert [(i, j) for i, j, _ in similar_pairs(texts, 0.5).each()] == same
