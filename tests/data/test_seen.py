"""Texts that came before are known, however many there were, and are not held."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from opswright.data import seen
from opswright.data.seen import SeenTexts


def test_a_text_is_new_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_RECENT", 8)
    draw, known, texts = random.Random(1), set[str](), SeenTexts()
    for text in (str(draw.randrange(120)) for _ in range(500)):
        assert texts.add(text) == (text not in known)
        known.add(text)
    assert [texts.add(odd) for odd in ("", "", "\ud83d", "\ud83d", "e\u0301", "\u00e9")] == [
        True, False, True, False, True, True,
    ]  # fmt: skip


def test_of_a_text_that_came_before_some_bytes_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_RECENT", 1000)
    texts = SeenTexts()
    tracemalloc.start()
    for n in range(50_000):
        texts.add(f"a long id, as some exports have them, of row {n}")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 12 * 50_000
