"""The whole skill, on small sources."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import Finding, StepContext
from opswright.core.errors import AskError, HeldError
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.skills.curate import CurateRequest, CurateResult, curate
from opswright.skills.golden import GoldenRequest, golden

TOPICS = {
    "play_music": "play the song number {} of the band loud",
    "balance": "show what is left on account {} at the bank",
    "book_flight": "find me a seat to city {} in the morning",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three labels of 40 rows, one after the other."""
    draw = random.Random(3)
    words = ["amber", "bison", "cedar", "delta", "ember", "fjord", "glade", "heron", "ivory", "jade", "koala"]
    with (tmp_path / "raw.jsonl").open("w") as file:
        for label, shape in TOPICS.items():
            for _ in range(40):
                text = shape.format(" ".join(draw.choices(words, k=6)))
                file.write(json.dumps({"text": text, "label": label, "area": label[:4]}) + "\n")
    return tmp_path / "raw.jsonl"


def rows_of(context: StepContext, ref: DatasetRef) -> pl.DataFrame:
    return pl.read_parquet(context.artifacts.open(ref).path / "rows.parquet")


def lines_of(context: StepContext, ref: DatasetRef, name: str) -> list[Any]:
    return [json.loads(line) for line in (context.artifacts.open(ref).path / name).read_text().splitlines()]


def add(source: Path, *rows: dict[str, Any]) -> None:
    with source.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_dataset_holds_chat_lines_rows_and_counts_that_agree(source: Path, context: Any) -> None:
    ctx = context()
    result = curate(CurateRequest(source=source, validation_fraction=0.1), ctx)
    train, validation = (lines_of(ctx, result.dataset, f"{name}.jsonl") for name in ("train", "validation"))
    assert (len(train), len(validation)) == (result.train_rows, result.validation_rows) == (108, 12)
    assert set(train[0]) == {"messages"}
    assert [turn["role"] for turn in train[0]["messages"]] == ["user", "assistant"]
    assert {line["messages"][1]["content"] for line in train} == set(TOPICS)
    facts = ctx.artifacts.open(result.dataset).facts
    assert facts["rows"] == result.rows == 120 and facts["labels"] == 3 and facts["sources"] == ["raw.jsonl"]
    assert rows_of(ctx, result.dataset)["split"].value_counts(sort=True)["count"].to_list() == [108, 12]


def test_training_lines_are_shuffled_so_that_no_batch_has_one_label(source: Path, context: Any) -> None:
    ctx = context()
    result = curate(CurateRequest(source=source), ctx)
    labels = [line["messages"][1]["content"] for line in lines_of(ctx, result.dataset, "train.jsonl")]
    assert all(len(set(labels[i : i + 16])) > 1 for i in range(0, 100, 16))


def test_the_same_source_and_seed_give_the_same_artifact(source: Path, context: Any) -> None:
    first = curate(CurateRequest(source=source), context("one"))
    moved = source.with_name("moved")
    moved.mkdir()
    (moved / "raw.jsonl").write_bytes(source.read_bytes())
    assert curate(CurateRequest(source=moved / "raw.jsonl"), context("two")).dataset == first.dataset
    assert curate(CurateRequest(source=source, seed=2), context("three")).dataset != first.dataset


def test_every_row_left_out_is_in_the_file_with_its_reason(source: Path, context: Any) -> None:
    first = json.loads(source.read_text().splitlines()[0])
    add(
        source,
        {"text": 5, "label": "balance"},
        first,
        {"text": "pay it now", "label": "pay"},
        {"text": "pay it now!", "label": "bill"},
    )
    ctx = context()
    result = curate(CurateRequest(source=source), ctx)
    dropped = lines_of(ctx, result.dataset, "dropped.jsonl")
    assert [(one["row"], one["reason"]) for one in dropped] == [
        (121, "wrong_type"), (122, "exact_duplicate"), (123, "conflicting_label"), (124, "conflicting_label"),
    ]  # fmt: skip
    assert result.dropped == {"wrong_type": 1, "exact_duplicate": 1, "conflicting_label": 2}
    assert result.conflicts == 1 and result.rows == 120
    report = ctx.artifacts.open(result.dataset).read_json("report.json")
    assert report["conflicts"] == {"pay it now": ["bill", "pay"]}


def test_a_row_of_the_golden_set_never_reaches_training(context: Any, tmp_path: Path) -> None:
    ctx = context()
    kept_out = golden(GoldenRequest(suite="clinc150", domains=("banking",)), ctx)
    texts = rows_of(ctx, kept_out.dataset)["text"].to_list()
    path = tmp_path / "raw.csv"
    planted = [texts[0], texts[1].upper() + "??", texts[2] + " " * 3]
    rows = [
        ("play some jazz", "music"),
        ("turn the lights off", "lights"),
        *((text, "x") for text in planted),
    ]
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
    result = curate(CurateRequest(source=path, golden=kept_out.dataset), ctx)
    assert {how: n for how, n in result.leaked.items() if n} == {"verbatim": 1, "normalised": 2}
    assert set(rows_of(ctx, result.dataset)["text"].to_list()) == {"play some jazz", "turn the lights off"}
    assert kept_out.dataset in ctx.artifacts.open(result.dataset).parents


def replay_of(source: Path, context: Any, **fields: Any) -> tuple[StepContext, CurateResult, CurateResult]:
    """An earlier dataset of two labels, and a new one of the third with replay."""
    ctx = context()
    old = curate(
        CurateRequest(source=source, domain_column="area", domains=("play", "bala"), validation_fraction=0.1),
        ctx,
    )
    fresh = source.with_name("new.jsonl")
    fresh.write_text("".join(line + "\n" for line in source.read_text().splitlines() if "flight" in line))
    return ctx, old, curate(CurateRequest(source=fresh, replay=old.dataset, **fields), ctx)


def test_replay_adds_earlier_rows_evenly_over_their_labels(source: Path, context: Any) -> None:
    ctx, old, mixed = replay_of(source, context, replay_ratio=0.5, validation_fraction=0.1)
    counts = dict(rows_of(ctx, mixed.dataset)["label"].value_counts().iter_rows())
    assert counts == {"book_flight": 40, "play_music": 10, "balance": 10} and mixed.replay_rows == 20
    assert old.dataset in ctx.artifacts.open(mixed.dataset).parents


def test_a_replayed_row_stays_on_the_side_of_the_split_it_was_on(source: Path, context: Any) -> None:
    ctx, old, mixed = replay_of(source, context, replay_ratio=2, validation_fraction=0.1)
    before = dict(rows_of(ctx, old.dataset).select("text", "split").iter_rows())
    after = dict(rows_of(ctx, mixed.dataset).select("text", "split").iter_rows())
    assert mixed.replay_rows == 80 and all(after[text] == side for text, side in before.items())


def test_more_replay_than_there_is_takes_all_of_it(source: Path, context: Any) -> None:
    _, old, mixed = replay_of(source, context, replay_ratio=50)
    assert mixed.replay_rows == old.rows


def test_replay_and_its_ratio_go_together(source: Path, context: Any) -> None:
    with pytest.raises(AskError, match="go together"):
        curate(CurateRequest(source=source, replay_ratio=1), context())


def test_a_golden_set_cannot_be_replayed_into_training(source: Path, context: Any) -> None:
    ctx = context()
    kept_out = golden(GoldenRequest(suite="clinc150", domains=("meta",)), ctx)
    with pytest.raises(AskError, match="no training rows to replay"):
        curate(CurateRequest(source=source, replay=kept_out.dataset, replay_ratio=1), ctx)


def test_rows_of_one_group_are_never_on_both_sides(tmp_path: Path, context: Any) -> None:
    words = [f"w{i}x{i * 7919 % 1000}y" for i in range(600)]
    rows = [(" ".join(words[3 * i : 3 * i + 3]), "ab"[i % 2], f"user{i // 8}") for i in range(200)]
    pl.DataFrame(rows, schema=["text", "label", "user"], orient="row").write_csv(tmp_path / "a.csv")
    ctx = context()
    request = CurateRequest(source=tmp_path / "a.csv", group_column="user", validation_fraction=0.2)
    found = rows_of(ctx, curate(request, ctx).dataset)
    sides = found.group_by("group").agg(pl.col("split").n_unique(), pl.len())
    assert sides["split"].max() == 1 and sides["len"].min() == 8
    assert 16 <= found.filter(pl.col("split") == "validation").height <= 40


def test_one_label_only_is_refused(tmp_path: Path, context: Any) -> None:
    (tmp_path / "a.csv").write_text("text,label\nplay some jazz,music\nturn it up,music\n")
    with pytest.raises(AskError, match=r"all 2 rows .* have one label \('music'\)"):
        curate(CurateRequest(source=tmp_path / "a.csv"), context())


def test_a_source_that_is_all_contradiction_is_refused_with_the_counts(tmp_path: Path, context: Any) -> None:
    (tmp_path / "a.csv").write_text("text,label\nplay,music\nplay,game\n")
    with pytest.raises(AskError, match=r"no row .* is left.*2 conflicting_label"):
        curate(CurateRequest(source=tmp_path / "a.csv"), context())


def test_an_unknown_domain_is_refused_with_the_nearest_one(source: Path, context: Any) -> None:
    with pytest.raises(AskError, match=r"'blaa' .*bala, book, play.*Did you mean 'bala'"):
        curate(CurateRequest(source=source, domain_column="area", domains=("blaa",)), context())
    with pytest.raises(AskError, match="name a domain_column"):
        curate(CurateRequest(source=source, domains=("bala",)), context())


def test_a_step_that_was_stopped_leaves_no_dataset(source: Path, context: Any) -> None:
    ctx = context()
    ctx.cancelled.set()
    with pytest.raises(HeldError):
        curate(CurateRequest(source=source), ctx)
    assert ctx.artifacts.list("dataset") == []


def test_preflight_stops_a_plan_whose_source_is_missing(tmp_path: Path, workspace: Workspace) -> None:
    machine = Machine.here(tmp_path)
    assert curate.preflight is not None and curate.estimate is not None
    found = list(curate.preflight(CurateRequest(source=tmp_path / "gone.csv"), machine, workspace))
    assert [one.level for one in found] == ["stop", "warn"] and "no file or folder" in found[0].message
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    request = CurateRequest(source=tmp_path / "a.csv", golden=DatasetRef.pending())
    found = list(curate.preflight(request, machine, workspace))
    assert [one.level for one in found] == ["ok", "ok"] and "earlier step" in found[1].message
    minutes = curate.estimate(request, machine, workspace).minutes
    assert minutes is not None and 0 < minutes < 1


@pytest.mark.parametrize("field", ["golden_embedder", "semantic_duplicates"])
def test_what_an_embedder_takes_is_unknown_so_that_a_budget_refuses_it(
    source: Path, workspace: Workspace, field: str
) -> None:
    server = {"url": "https://models.example.org/v1", "model": "embedder"}
    told = {
        "golden_embedder": {**server, "min_cosine": 0.9},
        "semantic_duplicates": {"embedder": server},
    }
    request = CurateRequest.model_validate(
        {"source": source, "golden": DatasetRef.pending(), field: told[field]}
    )
    assert curate.estimate is not None
    cost = curate.estimate(request, Machine.here(source.parent), workspace)
    assert cost.usd is None and cost.tokens is None and cost.minutes is None
    plain = curate.estimate(CurateRequest(source=source), Machine.here(source.parent), workspace)
    assert plain.usd == plain.tokens == 0


def test_filters_run_in_the_order_asked_for_and_each_row_left_out_says_which_and_why(
    source: Path, context: Any
) -> None:
    add(source, {"text": "hi", "label": "balance"}, {"text": "caf\u00c3\u00a9", "label": "balance"})
    ctx = context()
    result = curate(CurateRequest(source=source, filters=("encoding", "length:min_chars=20")), ctx)
    assert result.dropped == {"filter_encoding": 1, "filter_length": 1}
    dropped = lines_of(ctx, result.dataset, "dropped.jsonl")
    assert [one["row"] for one in dropped] == [121, 122] and "fewer than 20" in dropped[0]["detail"]
    other = curate(CurateRequest(source=source, filters=("length:min_chars=20", "encoding")), context("two"))
    assert other.dropped == {"filter_length": 2}
    with pytest.raises(AskError, match="Did you mean 'encoding'"):
        CurateRequest(source=source, filters=("encodin",))


def test_personal_data_is_masked_or_dropped_on_request_alone_and_then_shown_nowhere(
    source: Path, context: Any
) -> None:
    secret = "ann.lee@example.org"
    add(
        source,
        {"text": f"send my balance to {secret} please", "label": "balance"},
        {"text": secret, "label": 3},
    )
    tried: tuple[tuple[dict[str, Any], bool], ...] = (
        ({}, True),
        ({"personal_data": "mask"}, False),
        ({"filters": ("personal_data",)}, False),
    )
    for number, (fields, seen) in enumerate(tried):
        ctx = context(f"step-{number}")
        result = curate(CurateRequest.model_validate({"source": source, **fields}), ctx)
        folder = ctx.artifacts.open(result.dataset).path
        texts = "".join(path.read_text() for path in folder.glob("*.json*"))
        assert (secret in texts) is seen
        assert (secret in "".join(rows_of(ctx, result.dataset)["text"])) is seen
        assert result.masked_rows == (1 if "personal_data" in fields else 0)


def test_personal_data_in_ids_and_tags_and_where_shown_texts_are_cut_is_masked(
    source: Path, context: Any
) -> None:
    card, secret = "4111111111111111", "ann.lee@example.org"
    rows = [{**json.loads(line), "id": f"n{at}"} for at, line in enumerate(source.read_text().splitlines())]
    source.write_text("")
    add(
        source,
        *rows,
        {"text": "please tell me what I owe", "label": "balance", "id": secret, "who": f"by {secret}"},
        {"text": "a wholly different thing", "label": "balance", "id": f"bo.{secret}", "who": "nobody"},
        {"text": f"{'q' * 187} {card} is mine", "label": "", "id": "1", "who": "x"},
    )
    with source.open("a") as file:
        file.write('{"text": "' + "q" * 177 + f" {card}\n")
    ctx = context("masked")
    asked = {"source": source, "personal_data": "mask", "columns": {"id": "id", "tags": {"who": "who"}}}
    folder = ctx.artifacts.open(curate(CurateRequest.model_validate(asked), ctx).dataset).path
    texts = "".join(path.read_text() for path in folder.glob("*.json*"))
    written = pl.read_parquet(folder / "rows.parquet")
    texts += written.write_json()
    assert secret not in texts and card[:8] not in texts
    assert len(set(written["id"])) == len(written) == 122


def test_a_row_that_takes_in_others_says_how_many_lines_are_lost(tmp_path: Path, context: Any) -> None:
    rows = [f"{draw} number {at},{draw}" for at in range(30) for draw in ("pay", "play")]
    source = tmp_path / "a.csv"
    source.write_text("\n".join(["text,label", *rows, '"open,pay', *rows[:40], ""]))
    ctx = context()
    result = curate(CurateRequest(source=source, near_duplicate_jaccard=1), ctx)
    assert "1 wrong_type (41 lines)" in result.rows_left_out
    (left,) = lines_of(ctx, result.dataset, "dropped.jsonl")
    assert left["lines"] == 41 and "a quote in line 62 takes in the 40 lines after it" in left["detail"]


def test_a_source_that_lies_elsewhere_gives_the_dataset_of_its_file(source: Path, context: Any) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/bucket/raw.jsonl", source.read_bytes())
    ctx, address, digest = (
        context(),
        "memory://bucket/raw.jsonl",
        hashlib.sha256(source.read_bytes()).hexdigest(),
    )
    request = CurateRequest.model_validate({"source": address})
    found = preflight(request, ctx.workspace)
    assert {finding.level for finding in found} == {"note", "warn"}
    assert any("does not cover what memory://bucket/raw.jsonl holds" in one.message for one in found)
    result = curate(request, ctx)
    assert result.source_sha256 == digest and not curate.may_reuse(request)
    pinned = CurateRequest.model_validate({"source": address, "source_sha256": digest})
    assert curate.may_reuse(pinned) and rows_of(ctx, result.dataset).equals(
        rows_of(ctx, curate(CurateRequest(source=source), ctx).dataset)
    )
    fsspec.filesystem("memory").rm("/bucket/raw.jsonl")
    assert [one.level for one in preflight(pinned, ctx.workspace)] == ["ok", "warn"]
    assert curate(pinned, ctx).dataset == result.dataset
    assert [one.level for one in preflight(request, ctx.workspace)] == ["stop", "warn"]


def preflight(request: CurateRequest, workspace: Workspace) -> list[Finding]:
    assert curate.preflight is not None
    return list(curate.preflight(request, Machine.here(workspace.root), workspace))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://ann:pw@example.org/a.csv", "holds a credential"),
        ("s3a://bucket/a.csv", "expected a path, or an address"),
        ("hf:owner/name", "expected hf:datasets/owner/name@commit"),
    ],
)
def test_an_address_that_cannot_be_is_refused_when_it_is_asked_for(source: str, says: str) -> None:
    with pytest.raises(AskError, match=says) as refused:
        curate.parse({"source": source})
    assert "pw@" not in str(refused.value)
