"""The `drift` skill: quiet traffic stays quiet, each kind of change is seen by its test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import opswright
from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.data.embed import TextEmbedder, words
from opswright.data.personal import mask
from opswright.serving.gateway.feedback import Feedback, FeedbackLog
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow
from opswright.skills.drift import DriftRequest, answered, drift, judge
from opswright.skills.drift.checks import (
    OTHER_PEOPLE,
    SAME_PEOPLE,
    Comparison,
    DriftTest,
    Reference,
    Window,
    compare,
)
from opswright.skills.drift.mmd import mmd
from opswright.skills.drift.sources import ReferenceSource

Context = Callable[..., StepContext]
RAW = Path(opswright.__file__).parent / "examples/support_router/raw/clinc150"
OLD, NEW = ("banking", "travel", "home"), ("small_talk", "meta")


@dataclass(frozen=True)
class Row:
    time: str
    text: str
    output: str
    status: str = "ok"


Labelled = list[tuple[str, str]]


@pytest.fixture(scope="module")
def texts() -> dict[str, Labelled]:
    data = json.loads((RAW / "data_full.json").read_text())
    domains = json.loads((RAW / "domains.json").read_text())
    of = {intent: name for name, intents in domains.items() for intent in intents}

    def some(split: str, names: Sequence[str], every: int) -> Labelled:
        rows = [(t, label) for t, label in data[split] if of[label] in names]
        np.random.default_rng(5).shuffle(rows)
        return rows[::every]

    old = some("val", OLD, 1)
    return {
        "train": some("train", OLD, 3),
        "old": old[::3],
        "held_out": [*old[1::3], *old[2::3]],
        "new": some("val", NEW, 3),
    }


@pytest.fixture(scope="module")
def reference(texts: dict[str, Labelled]) -> Reference:
    labels = [label for _, label in texts["train"]]
    said = [label for _, label in texts["held_out"]]
    return Reference([t for t, _ in texts["train"]], 7, labels, said)


def window(rows: Labelled) -> Window:
    return Window([text for text, _ in rows], [label for _, label in rows])


def fired(found: Comparison) -> set[str]:
    return {check.name for check in found.checks if check.alarm}


def by_name(found: Comparison, name: str) -> DriftTest:
    return next(check for check in found.checks if check.name == name)


def save_dataset(ctx: StepContext, rows: Labelled) -> DatasetRef:
    with ctx.artifacts.staging() as stage:
        frame = pl.DataFrame(
            {
                "text": [t for t, _ in rows] + ["held out text about nothing"] * 5,
                "label": [label for _, label in rows] + ["other"] * 5,
                "domain": [None] * (len(rows) + 5),
                "split": ["train"] * len(rows) + ["validation"] * 5,
                "group": [str(i) for i in range(len(rows) + 5)],
            }
        )
        frame.write_parquet(stage / "rows.parquet")
        return ctx.artifacts.save(DatasetRef, stage, {"rows": len(rows)})


def traffic(rows: Labelled) -> list[Row]:
    return [Row(f"2026-11-20T10:{i // 60:02d}:{i % 60:02d}Z", t, label) for i, (t, label) in enumerate(rows)]


def test_traffic_like_the_training_data_raises_no_alarm(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    found = compare(reference, window(texts["old"]), alpha=0.01, seed=1)
    assert not found.alarm
    assert [check.name for check in found.checks if check.decides] == [
        "embedding",
        "novelty",
        "labels",
        "not_labels",
    ]


def test_traffic_from_unknown_domains_raises_the_alarm(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    mixed = [*texts["old"][:180], *[(t, "balance") for t, _ in texts["new"][:60]]]
    assert {"embedding", "labels"} <= fired(compare(reference, window(mixed), alpha=0.01, seed=1))


def test_a_model_that_answers_one_label_is_seen_by_the_labels_alone(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    rows = [(text, "balance") for text, _ in texts["old"]]
    found = compare(reference, window(rows), alpha=0.01, seed=1)
    assert fired(found) == {"labels"}
    assert by_name(found, "labels").detail["moved"][0]["label"] == "balance"


def test_longer_texts_of_the_same_words_are_shown_and_raise_no_alarm(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    rows = [(f"{text} {text}", label) for text, label in texts["old"]]
    found = compare(reference, window(rows), alpha=0.01, seed=1)
    length = by_name(found, "length")
    assert length.p < 1e-6 and not length.alarm and not length.decides
    assert found.p == min(check.p_corrected for check in found.checks if check.decides) > 0.05


def with_strange(rows: Labelled, every: int) -> Labelled:
    return [(f"zorblax{i} quuxified" if i % every == 0 else t, label) for i, (t, label) in enumerate(rows)]


def test_texts_unlike_any_in_the_training_data_are_seen_as_novel(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    rows = [
        (f"zorblax{i} quuxified" if i % 5 == 0 else t, label) for i, (t, label) in enumerate(texts["old"])
    ]
    found = found_of(reference, rows)
    assert "novelty" in fired(found)
    assert by_name(found, "novelty").detail["live_share"] >= 0.2
    assert by_name(found, "vocabulary").detail["live_share"] >= 0.2
    assert not by_name(found, "vocabulary").decides


@pytest.mark.e2e
def test_earlier_traffic_of_the_same_people_allows_no_more_novel_texts_than_usual(
    texts: dict[str, Labelled],
) -> None:
    asked = [t for t, _ in [*texts["train"], *texts["held_out"]]]
    rows = [
        (f"zorblax{i} quuxified" if i % 12 == 0 else t, label) for i, (t, label) in enumerate(texts["old"])
    ]
    other, same = (
        by_name(found_of(Reference(asked, 7, tolerance=people), rows), "novelty")
        for people in (OTHER_PEOPLE, SAME_PEOPLE)
    )
    assert same.statistic == other.statistic and same.p < other.p / 5


def test_a_model_that_spells_its_labels_otherwise_is_no_change(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    spaced = [(text, label.replace("_", " ").upper()) for text, label in texts["old"]]
    for name in ("labels", "not_labels"):
        ours, theirs = (
            by_name(compare(reference, window(rows), alpha=0.01, seed=1), name)
            for rows in (texts["old"], spaced)
        )
        assert theirs == ours
    assert any("_" in row["label"] for row in by_name(found_of(reference, spaced), "labels").detail["moved"])


def found_of(reference: Reference, rows: Labelled) -> Comparison:
    return compare(reference, window(rows), alpha=0.01, seed=1)


def test_a_few_answers_that_are_no_label_are_no_alarm_and_garbage_is(
    reference: Reference, texts: dict[str, Labelled]
) -> None:
    some = [(t, "gibberish" if i < 5 else label) for i, (t, label) in enumerate(texts["old"])]
    few = found_of(reference, some)
    assert not few.alarm
    garbage = found_of(reference, [(t, "gibberish") for t, _ in some])
    assert fired(garbage) == {"not_labels"}
    assert by_name(garbage, "not_labels").detail["live_share"] == 1


def test_a_model_that_is_often_wrong_is_no_drift_while_it_is_as_wrong_as_ever(
    texts: dict[str, Labelled],
) -> None:
    def poor(rows: Labelled) -> Labelled:
        return [(t, "balance" if len(t) % 2 else label) for t, label in rows]

    train, held_out = texts["train"], poor(texts["held_out"])
    reference = Reference(
        [t for t, _ in train], 7, [label for _, label in train], [said for _, said in held_out]
    )
    assert not found_of(reference, poor(texts["old"])).alarm


@pytest.mark.e2e
def test_answers_in_free_text_are_compared_with_those_to_held_out_texts(texts: dict[str, Labelled]) -> None:
    def polite(rows: Labelled) -> Labelled:
        return [(t, f"you asked me about {t}, here is what i found") for t, _ in rows]

    held_out = [said for _, said in polite(texts["held_out"])]
    reference = Reference([t for t, _ in texts["train"]], 7, None, held_out)
    assert [c.name for c in found_of(reference, polite(texts["old"])).checks if c.decides] == [
        "embedding", "novelty", "answers",
    ]  # fmt: skip
    assert not found_of(reference, polite(texts["old"])).alarm
    assert fired(found_of(reference, [(t, "the the the the") for t, _ in texts["old"]])) == {"answers"}


def test_words_are_found_in_scripts_with_marks_and_without_spaces() -> None:
    assert words("हिन्दी में Don't") == ["हिन्दी", "में", "don", "t"]
    assert words("你好 ok") == ["你", "好", "ok"]
    assert TextEmbedder(["!?", "?!", "!!"] * 4)(["!?"]).any()


def test_a_text_of_the_reference_counts_as_unknown_when_only_it_holds_a_word() -> None:
    corpus = ["pay the bill"] * 60 + ["pay the rent"] * 59 + ["pay the ransom"]
    reference = Reference(corpus, seed=1)
    assert reference.unknown_texts == 1
    assert reference.unknown("pay the toll") == ["toll"]


def test_mmd_is_the_textbook_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 3)).astype(np.float32), rng.normal(0.3, size=(30, 3)).astype(np.float32)
    z = np.vstack([x, y]).astype(np.float64)
    distances = np.linalg.norm(z[:, None] - z[None], axis=2)
    scale = np.median(distances[np.triu_indices(55, 1)])
    k = np.exp(-(distances**2) / (2 * scale**2))
    expected = k[:25, :25].mean() + k[25:, 25:].mean() - 2 * k[:25, 25:].mean()
    got = mmd(x, y, 200, rng)
    assert got.statistic == pytest.approx(expected, rel=0.05)  # random features of the same kernel
    assert 1 / 201 <= got.p <= 1
    towards = k[25:, 25:].mean(axis=1) - k[25:, :25].mean(axis=1)
    assert np.corrcoef(got.witness, towards)[0, 1] > 0.95


def _forty(rng: np.random.Generator) -> Any:
    return rng.normal(size=(40, 4)).astype(np.float32)


def test_mmd_keeps_its_level_and_finds_a_shift() -> None:
    rng = np.random.default_rng(3)
    quiet = [mmd(_forty(rng), _forty(rng), 99, rng).p for _ in range(200)]
    assert 0.01 <= np.mean(np.array(quiet) <= 0.05) <= 0.10
    moved = rng.normal(1.0, size=(40, 4)).astype(np.float32)
    assert mmd(rng.normal(size=(40, 4)).astype(np.float32), moved, 99, rng).p == 0.01


def test_mmd_of_equal_points_says_nothing() -> None:
    same = np.ones((30, 2), np.float32)
    assert mmd(same, same, 50, np.random.default_rng(0)).p == 1.0


def test_mmd_refuses_a_handful() -> None:
    with pytest.raises(AskError, match="needs 20 texts on each side; there are 19 and 30"):
        mmd(np.zeros((19, 2), np.float32), np.zeros((30, 2), np.float32), 10, np.random.default_rng(0))


def test_an_embedding_has_unit_length_or_none() -> None:
    embed = TextEmbedder(["pay the bill now", "book a flight home", "turn off the light"] * 5)
    vectors = embed(["pay the bill", "zzz"])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 0.0], abs=1e-5)


def test_the_report_holds_the_figures_the_texts_and_the_plots(
    context: Context, texts: dict[str, Labelled]
) -> None:
    ctx = context()
    request = DriftRequest(endpoint="support", reference=save_dataset(ctx, texts["train"]), window=200)
    rows = [*texts["old"][:130], *[(t, "balance") for t, _ in texts["new"][:70]]]
    result = judge(request, traffic(rows), ctx)
    assert result.alarm and "drift alarm by" in result.message
    artifact = ctx.artifacts.open(result.report)
    assert artifact.facts["alarm"] is True and artifact.facts["n"] == 200
    assert artifact.facts["reference_rows"] == len(texts["train"])  # the validation rows are left out
    assert set(artifact.facts["tests"]["embedding"]) == {
        "statistic", "p", "p_corrected", "alarm", "decides",
    }  # fmt: skip
    assert {"report.json", "examples.json", "tests.png", "embedding.png", "length.png", "labels.png"} == set(
        artifact.files
    )
    moved = [row["text"] for row in artifact.read_json("examples.json")["texts"]]
    new = {text for text, _ in texts["new"]}
    assert sum(text in new for text in moved) >= 15  # of 20 shown; a third of the window is new
    assert ctx.metrics["p_embedding"] == result.tests["embedding"].p_corrected
    assert judge(request, traffic(rows), context("again")).report == result.report


def test_too_little_traffic_is_said_with_the_number_there_is(context: Context) -> None:
    request = DriftRequest(
        endpoint="support", reference=DatasetRef.of("0" * 64), since="2026-11-20T00:00:00Z"
    )
    with pytest.raises(AskError, match=r"answered 99 requests since 2026-11-20T00:00:00Z; .* least 100"):
        judge(request, traffic([("hello", "greeting")] * 99), context())


def test_blocked_and_failed_requests_are_passed_over_for_older_ones() -> None:
    log = [Row("t", f"text {i}", "x", "ok" if i % 3 == 0 else "blocked") for i in range(1000)]
    asked: list[int] = []

    def read(last: int) -> list[Row]:
        asked.append(last)
        return log[-last:]

    rows = answered(read, 100)
    assert [row.text for row in rows] == [f"text {i}" for i in range(702, 1000, 3)]
    assert asked == [100, 400]
    assert len(answered(read, 900)) == 334


def test_the_skill_reads_the_traffic_log_of_its_endpoint(
    context: Context, texts: dict[str, Labelled]
) -> None:
    ctx = context()
    log = TrafficLog(ctx.workspace.endpoints / "support")
    for i, (text, label) in enumerate(texts["old"][:150]):
        log.append(
            TrafficRow(
                time=f"2026-11-20T10:{i // 60:02d}:{i % 60:02d}.000Z",
                id=f"r{i}",
                release="v1",
                route="stable",
                text=text,
                output=label,
                status="ok",
                rail=None,
                latency_ms=2.0,
                model_version=1,
            )
        )
    log.close()
    said = FeedbackLog(ctx.workspace.endpoints / "support")
    for number, thumb in ((5, "down"), (20, "up"), (21, "up"), (22, "down")):  # the first is not compared
        said.append(Feedback(f"2026-11-20T11:00:{number}.000Z", f"r{number}", thumb, None))  # type: ignore[arg-type]
    said.close()
    reference = save_dataset(ctx, texts["train"])
    result = drift(DriftRequest(endpoint="support", reference=reference, window=140), ctx)
    assert (result.alarm, result.n) == (False, 140)
    assert result.labelled == 3 and result.labelled_right == pytest.approx(2 / 3)
    with pytest.raises(AskError, match="endpoint 'elsewhere' has answered 0 requests"):
        drift(DriftRequest(endpoint="elsewhere", reference=reference), ctx)


def test_masked_personal_data_in_the_traffic_is_no_new_word(
    texts: dict[str, Labelled], context: Context
) -> None:
    mail = "write to ada@example.org about {}"
    source = ReferenceSource("k", "w", [mail.format(text) for text, _ in texts["train"]], None, None, None)
    masked = source.masked()
    assert masked.texts[0] == mask(mail.format(texts["train"][0][0])) and "<email>" in masked.texts[0]
    seen = Reference(masked.texts, 7)
    assert not seen.unknown("write to <email> about")
