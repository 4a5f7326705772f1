"""Cleaning: leaks, contradictions, duplicates."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from opswright.data.published import clinc150
from opswright.data.rows import Dropped
from opswright.data.sample import Sample, Task
from opswright.data.similar import bands_and_rows, similar_pairs
from opswright.evals.contamination import find_overlap
from opswright.skills.curate.gather import GatheredRow, GoldenRows
from opswright.skills.curate.judge import JudgeRules, RowJudge
from opswright.skills.curate.request import CurateRequest
from opswright.skills.curate.stages import RowTable, Tally, row_batches

WORDS = ["card", "bank", "money", "send", "lost", "find", "open", "close", "check", "pin", "bill", "pay"]
WORDS += ["flight", "hotel", "book", "song", "music", "light"]


@dataclass
class Cleaned:
    """What cleaning made of some rows: the numbers of those that stay, from 0, and the others."""

    kept: list[int]
    dropped: list[Dropped]
    conflicts: dict[str, list[str]]


def run(
    rows: Sequence[tuple[str, str]],
    golden: tuple[str, ...] = (),
    replayed: int = 0,
    task: Task = "classify",
    **fields: Any,
) -> Cleaned:
    """Clean (text, answer) rows, the last `replayed` of them from an earlier dataset."""
    new = len(rows) - replayed
    gathered = [
        GatheredRow("s", n, Sample.of(str(n), *row), None if n <= new else "train")
        for n, row in enumerate(rows, 1)
    ]
    dropped: list[Dropped] = []
    tally = Tally(dropped.append)
    with (
        TemporaryDirectory() as folder,
        RowTable(task, CurateRequest(source=Path("x"), **fields), GoldenRows(golden), Path(folder)) as table,
    ):
        table.take_in(lambda drop: iter(gathered), tally, lambda: None)
        verdicts, _ = table.clean()
        taken = [row for row, is_taken in zip(gathered, table.taken, strict=True) if is_taken]
        for at, row in enumerate(taken):
            if not verdicts.kept[at]:
                tally.row(row, *verdicts.why(at, table.keys))
    kept = [row.row - 1 for row, stays in zip(taken, verdicts.kept, strict=True) if stays]
    conflicts = {taken[at].sample.question: labels for at, labels in verdicts.conflicts.items()}
    return Cleaned(kept, dropped, conflicts)


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
    assert len(similar_pairs(crowd, 0.6).first) < 1000 * 400 < 1000 * 999 / 2
    golden = ("please tell me when order number 2002 from the shop will arrive",)
    cleaned = run([*((text, "order") for text in crowd), ("play jazz", "music")], golden, golden_jaccard=0.7)
    assert set(why(cleaned).values()) == {"golden_near_duplicate"} and cleaned.kept == [1000]


def test_thousands_of_equal_rows_cost_nothing() -> None:
    cleaned = run([("hello", "greeting")] * 5000 + [("bye", "goodbye")])
    assert cleaned.kept == [0, 5000] and why(cleaned)[5000] == "exact_duplicate"


@pytest.mark.parametrize("least", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_bands_propose_999_of_1000_pairs_at_the_threshold(least: float) -> None:
    bands, rows = bands_and_rows(least)
    assert 1 - (1 - least**rows) ** bands >= 0.999 and bands * rows <= 128


def test_several_answers_to_one_prompt_stay_where_answers_are_free() -> None:
    rows = [
        ("name a colour", "red"),
        ("name a colour", "blue"),
        ("Name a colour!", "Red."),
        ("name a colour", "red"),
    ]
    assert why(run(rows, task="generate")) == {3: "normalised_duplicate", 4: "exact_duplicate"}
    assert why(run(rows)) == dict.fromkeys((1, 2, 3, 4), "conflicting_label")


def test_a_long_prompt_with_another_answer_is_no_duplicate_and_with_nearly_the_same_it_is() -> None:
    prompt = "given the long report of last year on the state of all roads, say which of them is worst"
    answer = "the old bridge over the river in the east of the town, which has been closed since the spring"
    rows = [(prompt, answer), (prompt, "no bridge at all"), (prompt + "!", answer + " of it")]
    assert why(run(rows, task="generate")) == {3: "near_duplicate"}


def test_sums_with_other_operators_are_no_duplicates() -> None:
    rows = [("what is 7 + 3", "10"), ("what is 7 - 3", "4"), ("what is 7 * 3", "21")]
    assert why(run(rows, task="generate")) == why(run(rows)) == {}


def test_a_golden_question_is_found_misspelt_reordered_and_within_a_longer_text() -> None:
    golden = ("which platform does the night train to the coast leave from",)
    rows = [
        ("which platform does the night trian to the coast leave from", "misspelt"),
        ("leave from which platform does the night train to the coast", "reordered"),
        (
            "my aunt asks: which platform does the night train to the coast leave from? she is late",
            "x",
        ),
        ("which platform does the day train leave from", "y"),
    ]
    found = run(rows, golden, golden_jaccard=1.0)
    assert why(found) == {1: "golden_misspelt", 2: "golden_reordered", 3: "golden_contained"}
    assert found.kept == [3] and golden[0] in found.dropped[0].detail


def test_two_processes_hash_a_text_alike(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = "from opswright.data.shingles import hash_shingles; print(hash_shingles(['a text', 'ab'])[0])"
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, stdout=-1
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_long_rows_are_taken_in_a_few_at_a_time() -> None:
    long = (GatheredRow("s", n, Sample.of(str(n), "word " * 200_000, "x")) for n in range(9))
    assert [len(batch) for batch in row_batches(long)] == [4, 4, 1]
    short = (GatheredRow("s", n, Sample.of(str(n), "word", "x")) for n in range(2001))
    assert [len(batch) for batch in row_batches(short)] == [2000, 1]


def test_of_rows_kept_apart_from_a_golden_set_none_is_called_a_leak_whatever_rows_stand_around_it() -> None:
    golden = [row.text for row in clinc150.read_rows(clinc150.FOLDER, "test")]
    read = clinc150.read_rows(clinc150.FOLDER, "train")
    rows = [GatheredRow("a.csv", n, Sample.of(str(n), row.text, row.label)) for n, row in enumerate(read)]
    judged = RowJudge(JudgeRules.of(CurateRequest(source=Path("x")), GoldenRows(golden))).judge(
        rows, [None] * len(rows)
    )
    kept = [row.sample.question for row, one in zip(rows, judged, strict=True) if one.fault is None]
    assert len(kept) > 0.95 * len(rows)
    for part in (kept, kept[::2], kept[1::3]):
        assert find_overlap(part, golden) == {}
