"""Leaks: what is planted is found, however it was changed; what is clean is left alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from opswright.data.published import banking77, clinc150
from opswright.evals.contamination import MatchKind, OverlapFinder, find_overlap

Change = Callable[[random.Random, str], str]


def misspelt(draw: random.Random, text: str) -> str:
    """One letter left out, put in or changed; no digit."""
    at = draw.choice([i for i, char in enumerate(text) if not char.isdigit()])
    letter = draw.choice("abcdefghijklmnopqrstuvwxyz")
    return draw.choice(
        [text[:at] + letter + text[at:], text[:at] + text[at + 1 :], text[:at] + letter + text[at + 1 :]]
    )


def politely(draw: random.Random, text: str) -> str:
    return draw.choice(
        ["hi there, {}, thanks", "Hello! Could you help: {}? Thank you so much.", "hey, {} please"]
    ).format(text)


def reordered(draw: random.Random, text: str) -> str:
    words = text.split()
    at = draw.randrange(1, len(words))
    return " ".join(words[at:] + words[:at])


def embedded(draw: random.Random, text: str) -> str:
    return f"I was on the phone with my brother about a job, and then he asked: {text} After that we ate."


def verbatim(draw: random.Random, text: str) -> str:
    return text


def items() -> list[str]:
    """Test items of two sets that nothing was tuned to, of four words and 16 characters at least."""
    rows = [*banking77.read_rows(banking77.FOLDER, "test"), *clinc150.read_rows(clinc150.FOLDER, "val")]
    return [row.text for row in rows if len(row.text.split()) >= 4 and len(row.text) >= 20][::3]


@pytest.mark.parametrize(
    ("change", "least"),
    [(verbatim, 1.0), (misspelt, 0.95), (politely, 0.99), (reordered, 0.9), (embedded, 0.99)],
)
def test_a_planted_item_is_found(change: Change, least: float) -> None:
    draw, asked = random.Random(1), items()
    texts = [change(draw, text) for text in asked]
    found = {(one.text, one.item) for one in OverlapFinder(asked).overlaps(texts)}
    recall = sum((number, number) in found for number in range(len(asked))) / len(asked)
    assert len(asked) > 1500 and recall >= least


@pytest.mark.parametrize("swapped", [False, True])
def test_of_other_peoples_questions_less_than_one_in_a_thousand_is_called_a_leak(swapped: bool) -> None:
    sets = [(clinc150, clinc150.FOLDER), (banking77, banking77.FOLDER)]
    (mine, folder), (theirs, other) = reversed(sets) if swapped else sets
    asked = [row.text for row in mine.read_rows(folder, "test")]
    texts = [row.text for row in theirs.read_rows(other, "train")]
    found = [one for one in OverlapFinder(asked).surest(texts) if one is not None]
    assert len(texts) >= 10_000 and len(found) < len(texts) / 1000


def common_questions() -> list[str]:
    return [row.text for row in banking77.read_rows(banking77.FOLDER, "train")]


def test_a_short_item_is_no_leak_where_another_question_only_begins_with_it() -> None:
    finder = OverlapFinder(["what is the exchange rate", "what is the exchange rate of the peso today"])
    texts = ["What is the exchange rate for pounds?", "Tell me: what is the exchange rate for gold"]
    texts += ["Hello, what is the exchange rate.", "so what is the exchange rate of the peso today or now"]
    found = finder.surest([*texts, *common_questions()])
    assert [one is not None for one in found[:4]] == [False, False, True, True]


@pytest.mark.parametrize(
    "carrier",
    [
        "she asked {} since he knew",
        "hallo ihr lieben {} danke vielmals",
        "\u043f\u0440\u0438\u0432\u0435\u0442 {} \u0441\u043f\u0430\u0441\u0438\u0431\u043e",
        "{} \u0634\u0643\u0631\u0627",
    ],
)
def test_an_item_within_a_sentence_is_found_without_a_mark_whatever_the_language_around_it(
    carrier: str,
) -> None:
    asked = [text for text in items() if 4 <= len(text.split()) <= 6]
    texts = [carrier.format(text.rstrip(".?!")) for text in asked]
    finder = OverlapFinder(asked)
    list(finder.overlaps(common_questions()))
    found = {(one.text, one.item) for one in finder.overlaps(texts)}
    assert len(asked) > 400 and sum((n, n) in found for n in range(len(asked))) >= 0.98 * len(asked)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Is there a fee for paying by card abroad?", MatchKind.VERBATIM),
        ("is there a FEE, for paying by card abroad", MatchKind.NORMALISED),
        ("is there a fee for paying by card abroad at all", MatchKind.NEAR_DUPLICATE),
        ("so tell me, is there a fee for paying by card abroad? my sister says no", MatchKind.CONTAINED),
        ("is there a fee fro paying by card abroad", MatchKind.MISSPELT),
        ("for paying by card abroad is there a fee", MatchKind.REORDERED),
        ("is there a limit for paying by phone at home", None),
        ("is there a fee", None),
    ],
)
def test_how_an_item_was_found_is_said(text: str, match: MatchKind | None) -> None:
    jaccard = 0.75 if match is MatchKind.NEAR_DUPLICATE else 1.0
    (found,) = OverlapFinder(["Is there a fee for paying by card abroad?"], jaccard).surest([text])
    assert (found.kind if found else None) is match


def test_another_number_is_another_question_and_a_short_item_is_no_part_of_a_longer_one() -> None:
    finder = OverlapFinder(["what is 12 times 4", "thank you", "\u4f60\u597d"], jaccard=1.0)
    assert list(finder.overlaps(["what is 12 times 7", "oh thank you for that", "\u4f60\u597d\u5417"])) == []


def test_an_item_is_found_in_a_script_without_spaces_and_in_a_long_document() -> None:
    item = "\u8bf7\u95ee\u4eca\u5929\u4ece\u5317\u4eac\u5230\u4e0a\u6d77\u7684\u706b\u8f66\u51e0\u70b9"
    (found,) = OverlapFinder([item]).surest([f"\u4f60\u597d{item}\u8c22\u8c22\u60a8\u4e86\u518d\u89c1"])
    assert found is not None and found.kind is MatchKind.CONTAINED
    draw = random.Random(1)
    words = ["amber", "bison", "cedar", "delta", "ember", "fjord", "glade", "heron", "ivory", "jade"]
    long = " ".join(draw.choices(words, k=20_000))
    asked = "when does the museum in the old harbour open on sundays"
    finder = OverlapFinder([asked, "amber bison quartz delta lemon fjord"])
    (found,) = finder.surest([f"{long[:70_000]} {asked} {long[70_000:]}"])
    assert found is not None and (found.item, found.kind) == (0, MatchKind.CONTAINED)
    assert finder.surest([long]) == [None]


def test_each_item_is_counted_once_by_the_surest_way_it_was_found() -> None:
    train = ["pay my bill", "what time is it there", "What time is it there?", "unrelated words"]
    asked = ["pay my bill", "What time is it there", "new", "what time is it there"]
    assert find_overlap(iter(train), asked) == {
        0: MatchKind.VERBATIM,
        1: MatchKind.NORMALISED,
        3: MatchKind.VERBATIM,
    }
    assert Counter(find_overlap(train, asked).values()) == {"verbatim": 2, "normalised": 1}


def test_nothing_to_find_and_nothing_to_look_through_are_no_errors() -> None:
    assert list(OverlapFinder([]).overlaps(["a text of some words"])) == []
    assert list(OverlapFinder(["", "?", "a text of some words"]).overlaps([])) == []
    assert OverlapFinder(["an item of some words"]).surest(["", " ", "\0", "\ud83d"]) == [None] * 4
