from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, HeldError
from opswright.engines import Continuation, GenerationOptions, GenerationResult, user_chat
from opswright.evals.answer_cache import AnswerCache, CachedEngine

OPTIONS = GenerationOptions(max_tokens=8)
CHATS = [user_chat(f"question {i}") for i in range(10)]


class Counting:
    """Echoes, fails on what it is told to, and counts what it is asked."""

    version = "counting 1"

    def __init__(self, fails_on: str = "\0") -> None:
        self.asked: list[str] = []
        self.fails_on, self.closed = fails_on, False

    def generate(self, chats: Any, options: Any, progress: Any = None) -> list[GenerationResult]:
        texts = [chat[-1]["content"] for chat in chats]
        self.asked += texts
        if progress is not None:
            progress(len(texts), len(texts))
        return [
            GenerationResult(None, "error", error="down")
            if self.fails_on in text
            else GenerationResult(text.upper())
            for text in texts
        ]

    def close(self) -> None:
        self.closed = True


class CountingScorer(Counting):
    """Also scores."""

    def loglikelihood(self, chats: Any, continuations: Any, prefix: Any = None, progress: Any = None) -> Any:
        self.asked += [chat[-1]["content"] for chat in chats]
        return [[Continuation(-float(len(text)), 1) for text in some] for some in continuations]


@pytest.fixture
def cached(tmp_path: Path) -> Any:
    def make(engine: Any = None, pieces: int = 4, **identity: Any) -> tuple[CachedEngine, Any]:
        inner = engine or Counting()
        identity = {"model": "m1"} | identity
        return CachedEngine(lambda: inner, identity, AnswerCache(tmp_path / "c" / "a.sqlite"), pieces), inner

    return make


def test_the_same_is_not_asked_twice_and_the_engine_not_even_opened(cached: Any, tmp_path: Path) -> None:
    first, inner = cached()
    answers = first.generate(CHATS, OPTIONS)
    assert [one.text for one in answers] == [f"QUESTION {i}" for i in range(10)] and len(inner.asked) == 10

    def never() -> Any:
        raise AssertionError("opened")

    second = CachedEngine(never, {"model": "m1"}, AnswerCache(tmp_path / "c" / "a.sqlite"), 4)
    told: list[tuple[int, int]] = []
    assert second.generate(CHATS, OPTIONS, lambda done, of: told.append((done, of))) == answers
    assert second.reused == 10 and told == [(10, 10)]
    second.generate(CHATS[:3], OPTIONS)
    assert second.reused == 13  # all that was known, however often it is asked
    second.close()
    assert (tmp_path / "c" / "a.sqlite").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("identity", "options", "chat"),
    [
        ({"model": "m2"}, OPTIONS, CHATS[0]),
        ({"transformers": "6"}, OPTIONS, CHATS[0]),
        ({}, GenerationOptions(max_tokens=9), CHATS[0]),
        ({}, GenerationOptions(max_tokens=8, temperature=0.5), CHATS[0]),
        ({}, OPTIONS, ({"role": "system", "content": "s"}, *CHATS[0])),
        ({}, OPTIONS, ({"role": "system", "content": "question 0"},)),
    ],
)
def test_another_model_option_or_prompt_is_another_answer(
    cached: Any, identity: dict[str, Any], options: GenerationOptions, chat: Any
) -> None:
    cached()[0].generate(CHATS, OPTIONS)
    other, inner = cached(**identity)
    other.generate([chat], options)
    assert len(inner.asked) == 1 and other.reused == 0


def test_an_interrupted_evaluation_goes_on_where_it_was(cached: Any) -> None:
    first, inner = cached()

    def stop(done: int, of: int) -> None:
        if done > 4:
            raise HeldError("stopped by a person")

    with pytest.raises(HeldError):
        first.generate(CHATS, OPTIONS, stop)
    again, resumed = cached()
    assert len(again.generate(CHATS, OPTIONS)) == 10
    assert len(inner.asked) == 8 and len(resumed.asked) == 6 and again.reused == 4  # one piece was kept


def test_what_failed_is_asked_again(cached: Any) -> None:
    first, _ = cached(Counting(fails_on="3"))
    assert [one.error for one in first.generate(CHATS, OPTIONS)].count("down") == 1
    second, inner = cached()
    assert second.generate(CHATS, OPTIONS)[3].text == "QUESTION 3" and inner.asked == ["question 3"]


def test_a_damaged_cache_is_as_good_as_an_empty_one(cached: Any, tmp_path: Path) -> None:
    cached()[0].generate(CHATS, OPTIONS)
    path = tmp_path / "c" / "a.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET value = '[1, 2, 3, 4, 5, 6, 7, 8, 9]'")
    database.close()
    assert cached()[0].generate(CHATS, OPTIONS)[0].text == "QUESTION 0"
    path.write_bytes(b"no database at all" * 100)
    engine, inner = cached()
    assert engine.generate(CHATS, OPTIONS)[0].text == "QUESTION 0" and len(inner.asked) == 10


def test_text_that_is_not_unicode_is_asked_and_not_kept(cached: Any) -> None:
    engine, inner = cached()
    assert len(engine.generate([user_chat("half \ud800"), CHATS[0]], OPTIONS)) == 2 and len(inner.asked) == 2


def test_likelihoods_are_kept_by_their_choices_too(cached: Any) -> None:
    first, inner = cached(CountingScorer())
    found = first.loglikelihood(CHATS[:2], [["a", "bb"], ["a"]])
    assert found == [[Continuation(-1.0, 1), Continuation(-2.0, 1)], [Continuation(-1.0, 1)]]
    assert first.loglikelihood(CHATS[:2], [["a", "bb"], ["b"]]) and len(inner.asked) == 3
    first.loglikelihood(CHATS[:1], [["a", "bb"]], prefix=" ")
    assert len(inner.asked) == 4
    with pytest.raises(AskError, match="`choose_by: generation`"):
        cached()[0].loglikelihood(CHATS[2:3], [["a"]])
