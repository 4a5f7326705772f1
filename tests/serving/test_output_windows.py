"""A streamed answer passes output rails in windows: nothing leaves that they have not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opswright.engines import TextPiece
from opswright.serving.gateway.output_windows import HELD_CHARACTERS, in_windows
from opswright.serving.rails import SHIPPED, RailDecision, Rails, load_rails

CARD = "4111 1111 1111 1111"


class Listener:
    """Output rails that block a word, and remember what they have read."""

    def __init__(self, word: str = "secret") -> None:
        self.word, self.read = word, [""]

    async def __call__(self, text: str) -> RailDecision:
        self.read.append(text)
        return RailDecision(False, "pii", "withheld") if self.word in text else RailDecision(True)


async def _played(pieces: list[str], rails: Listener) -> tuple[str, bool]:
    async def engine() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    sent, is_blocked = "", False
    async for passed in in_windows(engine(), rails):
        assert not is_blocked, "something came after a block"
        if isinstance(passed, str):
            sent += passed
            assert any(text.startswith(sent) for text in rails.read), "sent before it was read"
        else:
            is_blocked = True
    return sent, is_blocked


def play(pieces: list[str], rails: Listener | None = None) -> tuple[str, bool]:
    return asyncio.run(_played(pieces, rails or Listener()))


@given(st.lists(st.text("ab c.", max_size=70), max_size=40))
def test_what_passes_is_the_whole_answer(pieces: list[str]) -> None:
    assert play(pieces) == ("".join(pieces), False)


@given(before=st.text("ab c", max_size=900), after=st.text("ab c", max_size=400), size=st.integers(1, 50))
def test_no_letter_of_what_is_blocked_leaves(before: str, after: str, size: int) -> None:
    text = f"{before}secret{after}"
    sent, is_blocked = play([text[at : at + size] for at in range(0, len(text), size)])
    assert is_blocked and before.startswith(sent)


@given(before=st.text("ab c", max_size=900), after=st.text("ab c", max_size=400), size=st.integers(1, 50))
@example(before="ab " * 200, after="c " * 150, size=7)
def test_log_probabilities_leave_with_their_text_and_never_spell_what_is_blocked(
    before: str, after: str, size: int
) -> None:
    text = f"{before}secret{after}"
    cut = [text[at : at + size] for at in range(0, len(text), size)]
    pieces = [TextPiece(one, [{"token": one}]) for one in cut]

    async def read(rails: Listener) -> tuple[str, str]:
        async def engine() -> AsyncIterator[str]:
            for piece in pieces:
                yield piece

        sent = spelt = ""
        async for passed in in_windows(engine(), rails):
            if isinstance(passed, TextPiece):
                sent += passed
                spelt += "".join(one["token"] for one in passed.logprobs)
                assert sent.startswith(spelt)
        return sent, spelt

    asyncio.run(read(Listener()))
    assert asyncio.run(read(Listener("no such word"))) == (text, text)


def test_an_answer_leaves_while_it_is_made() -> None:
    rails = Listener()
    sent, _ = play(["word "] * 400, rails)
    assert sent == "word " * 400
    assert len(rails.read) > 6
    assert len(rails.read[1]) < 2 * HELD_CHARACTERS


def test_a_hit_that_more_text_takes_away_is_no_hit() -> None:
    class Cut(Listener):
        async def __call__(self, text: str) -> RailDecision:
            self.read.append(text)
            return RailDecision(not text.endswith("number 123-45-6789"), "pii", "withheld")

    start = "x" * 174  # the first window ends within a longer number
    assert play([f"{start}number 123-45-6789", "012 and more"], Cut()) == (
        f"{start}number 123-45-6789012 and more",
        False,
    )


@pytest.fixture(scope="module")
def rails() -> Rails:
    return load_rails(SHIPPED / "config")


@pytest.mark.parametrize("at", [0, 100, 190, 250, 700])
def test_a_card_number_never_leaves_in_part(rails: Rails, at: int) -> None:
    text = "so it goes " * (at // 11) + CARD + " and so on" * 40

    async def read() -> str:
        async def engine() -> AsyncIterator[str]:
            for letter in text:
                yield letter

        return "".join(
            [one async for one in in_windows(engine(), rails.acheck_output) if isinstance(one, str)]
        )

    assert "4111" not in asyncio.run(read())
