"""The loss curve, the label check's comparison, and what is known before a training."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Gpu, Machine
from opswright.core.settings import TrainSettings, load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
from opswright.skills.finetune.curve import Curve, drop_cut_line
from opswright.skills.finetune.export import stop_at
from opswright.skills.finetune.labels import difference, said
from opswright.skills.finetune.shares import choose_share, rows_of_share
from opswright.skills.finetune.status import Tail
from opswright.skills.finetune.tiny import word_splitter
from opswright.skills.finetune.tiny_shape import TinyShape
from opswright.skills.finetune.tokenised_chat import check_lengths
from opswright.skills.finetune.watched import is_over

LAPTOP = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 100.0, ())
GPU_BOX = Machine("linux", "x86_64", "3.11.7", 16, 128.0, 900.0, (Gpu("H200", 141.0),))


def record(step: int, loss: float) -> str:
    return json.dumps({"step": step, "epoch": 0, "loss": loss, "num_tokens_per_step": 8, "tps": 5, "mem": 0})


def test_a_step_done_twice_after_a_crash_counts_once_as_it_was_done_last(tmp_path: Path) -> None:
    lines = [record(0, 3.0), record(1, 2.0), record(1, 1.0), record(2, 0.5)]
    (tmp_path / "training.jsonl").write_text("\n".join(lines) + "\n")
    curve = Curve.read(tmp_path)
    assert [r["loss"] for r in curve.training] == [3.0, 1.0, 0.5]
    assert curve.final_loss == pytest.approx(1.5) and curve.validation_loss is None


def test_a_line_that_a_crash_cut_does_not_swallow_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    path.write_text(record(0, 3.0) + "\n" + record(1, 2.0)[:9])
    drop_cut_line(path)
    with path.open("a") as file:
        file.write(record(1, 2.0) + "\n")
    assert len(Curve.read(tmp_path).training) == 2


def test_the_saved_curve_says_nothing_of_speed_or_time(tmp_path: Path) -> None:
    (tmp_path / "training.jsonl").write_text(record(0, 3.0) + "\n")
    out = tmp_path / "out"
    out.mkdir()
    Curve.read(tmp_path).write(out)
    assert "tps" not in (out / "training.jsonl").read_text()
    assert json.loads((out / "training.json").read_text())["tokens"] == 8


def test_a_training_that_ended_in_nan_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "training.jsonl").write_text(record(0, float("nan")) + "\n")
    with pytest.raises(BackendError, match="training diverged"):
        _ = Curve.read(tmp_path).final_loss


def test_a_line_still_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a":')
    tail = Tail(path)
    assert tail.read() == [{"a": 1}] and tail.read() == []
    with path.open("a") as file:
        file.write(" 2}\n")
    assert tail.read() == [{"a": 2}]


@pytest.mark.parametrize(
    ("taught", "message"),
    [
        ([" transfer money</s>"], ""),
        ([" transfer money<|im_end|>\n"], ""),
        ([" transfer money"], "no end token"),
        (["money</s>"], "the assistant says 'transfer money', supervised is 'money</s>'"),
        (["<|assistant|> transfer money</s>"], "supervised is '<|assistant|> transfer money</s>'"),
        ([], "1 assistant messages, 0 stretches"),
        ([" hi</s>", " transfer money</s>"], "1 assistant messages, 2 stretches"),
    ],
)
def test_what_would_be_taught_must_be_the_answer_and_its_end(taught: list[str], message: str) -> None:
    found = difference(["transfer money"], taught, ["</s>", "<|im_end|>", "<|assistant|>"])
    assert message in found and bool(message) == bool(found)


def test_white_space_of_the_answer_itself_is_left_to_the_template() -> None:
    ends = ["</s>"]
    for run in (" \tx_1 \r\n</s>", " x_1</s>"):  # kept by one template, cut by another
        assert difference(["\tx_1 \r\n"], [run], ends) == ""
    assert "the assistant says" in difference(["x_1"], [" x 1</s>"], ends)


CALL = {"name": "find", "arguments": '{"city": "Paris", "days": [1, 2]}'}


@pytest.mark.parametrize(
    ("turn", "taught", "message"),
    [
        ((CALL,), '{"name": "find", "arguments": {"city": "Paris", "days": [1, 2]}}</s>', ""),
        ((CALL,), "find(city=Paris, days=1, 2)</s>", ""),  # not JSON, and whole
        (("Looking.", CALL), 'Looking. find {"days": [1, 2], "city": "Paris"}</s>', ""),
        (
            (CALL,),
            '{"name": "find", "arguments": "{\\"city\\": \\"Paris\\", \\"days\\": [1, 2]}"}</s>',
            "within a JSON",
        ),
        ((CALL,), '{"name": "find", "arguments": {"city": "Rome", "days": [1, 2]}}</s>', "'Paris'"),
        ((CALL,), "</s>", "the assistant calls 'find'"),
        (("Looking.", CALL), 'find {"city": "Paris", "days": [1, 2]}</s>', "the assistant says 'Looking.'"),
        ((CALL,), 'find {"city": "Paris", "days": [1, 2]}', "no end token"),
    ],
)
def test_a_tool_call_that_would_be_taught_must_be_whole(
    turn: tuple[Any, ...], taught: str, message: str
) -> None:
    found = difference([turn], [taught], ["</s>"])
    assert message in found and bool(message) == bool(found)


def test_what_the_assistant_says_is_read_turn_by_turn_with_its_calls() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": CALL}]},
        {"role": "tool", "content": "y"},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
    ]
    assert said(messages) == [(CALL,), ("a b",), ("",)]
    assert said(messages[:4], last_turn_only=True) == [("a b",)]


def test_long_rows_are_left_out_up_to_one_in_twenty_and_refused_beyond() -> None:
    told = check_lengths("x.jsonl", {4: 90, 7: 300}, 40, 64, "drop")
    assert "2 of 40 rows have more than max_tokens 64 tokens (row 5 has 90, the longest 300)" in told
    with pytest.raises(AskError, match=r"3 of 40 rows.*at most 5% are left out\. Set max_tokens=300"):
        check_lengths("x.jsonl", {4: 90, 7: 300, 9: 65}, 40, 64, "drop")
    with pytest.raises(AskError, match="too_long is 'refuse'"):
        check_lengths("x.jsonl", {4: 90}, 1000, 64, "refuse")


def test_the_rows_of_a_smaller_share_are_among_those_of_a_larger_one() -> None:
    lines = [b'{"n": %d}' % (n % 90) for n in range(100)]  # some twice
    shares = {share: choose_share(lines, {}, share, seed=7) for share in (0.001, 0.1, 0.5, 0.9)}
    assert all(len(chosen) == max(1, round(100 * share)) for share, chosen in shares.items())
    for smaller, larger in ((0.001, 0.1), (0.1, 0.5), (0.5, 0.9)):
        assert not Counter(shares[smaller]) - Counter(shares[larger])
    assert choose_share(lines, {}, 0.5, seed=8) != shares[0.5]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_share_has_whole_groups_and_no_more_than_the_one_that_fills_it(
    owners: list[int], share: float, seed: int
) -> None:
    lines = [b"%d" % number for number in range(len(owners))]
    groups = {line: f"g{owner}" for line, owner in zip(lines, owners, strict=True)}
    chosen = choose_share(lines, groups, share, seed)
    inside = {groups[line] for line in chosen}
    assert chosen == [line for line in lines if groups[line] in inside]
    wanted = rows_of_share(len(lines), share)
    sizes = Counter(groups.values())
    assert wanted <= len(chosen) < wanted + max(sizes[name] for name in inside)
    more = choose_share(lines, groups, min(0.99, share * 1.5), seed)
    assert set(chosen) <= set(more)


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2], 1, True),  # no lower is not lower
        ([3, 1, 2, 2], 3, False),
        ([3, 1, 2, 2, 2], 3, True),
        ([3, 1, 2, 0.9, 2], 3, False),
        ([1], 1, False),
        ([], 2, False),
        ([math.nan, math.nan, math.nan], 2, True),
        ([1, math.nan, 0.5], 2, False),
        ([3, 3, 3, 3], None, False),
    ],
)
def test_a_training_is_over_when_its_patience_brought_nothing_lower(
    losses: list[float], patience: int | None, over: bool
) -> None:
    assert is_over(losses, patience) is over


def test_generation_stops_at_the_end_that_was_taught_and_where_it_stopped_before(tmp_path: Path) -> None:
    path = tmp_path / "generation_config.json"
    for before, after in (({"eos_token_id": 2}, [5, 2]), ({"eos_token_id": [2, 5]}, [2, 5]), ({}, 5)):
        path.write_text(json.dumps(before))
        stop_at(path, (5,))
        assert json.loads(path.read_text())["eos_token_id"] == after


def test_an_underscore_begins_a_word_as_a_space_does_so_that_labels_are_no_longer() -> None:
    def words(text: str) -> list[str]:
        return [text[start:end] for _, (start, end) in word_splitter().pre_tokenize_str(text)]

    assert words(" book_flight") == [" book", "_flight"] and len(words(" book flight")) == 2
    for text in (
        '{"max_new_tokens": 64}',
        "def f_1(a_b):\r\n\treturn a_b  ",
        "re\u0301sume\u0301_x",
        "__init__",
    ):
        assert "".join(words(text)) == text


@pytest.fixture
def data(workspace: Workspace) -> DatasetRef:
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n")
        return workspace.artifacts.save(DatasetRef, folder, {"train_rows": 12_000, "validation_rows": 200})


def stops(request: FinetuneRequest, machine: Machine, workspace: Workspace) -> list[str]:
    assert finetune.preflight
    found = finetune.preflight(request, machine, workspace)
    return [f"{f.message} {f.fix}" for f in found if f.level == "stop"]


def test_preflight_finds_nothing_wrong_on_a_laptop(data: DatasetRef, workspace: Workspace) -> None:
    assert stops(FinetuneRequest(data=data), LAPTOP, workspace) == []


def test_preflight_names_missing_gpus_and_disk(data: DatasetRef, workspace: Workspace) -> None:
    request = FinetuneRequest(data=data, gpus=2)
    assert "asks for 2 GPU(s); this machine has 0" in stops(request, LAPTOP, workspace)[0]
    full = Machine("linux", "x86_64", "3.11.7", 2, 16.0, 0.01, ())
    assert "0.0 GB are free" in stops(FinetuneRequest(data=data), full, workspace)[0]


def test_preflight_stops_a_base_made_from_data_that_is_too_large_for_the_memory(
    data: DatasetRef, workspace: Workspace
) -> None:
    giant = FinetuneRequest(data=data, tiny=TinyShape(layers=24, width=1024))
    assert "a step needs about" in stops(giant, LAPTOP, workspace)[0]
    assert stops(FinetuneRequest(data=data, tiny=TinyShape(layers=8, width=256)), LAPTOP, workspace) == []


def test_preflight_warns_of_more_threads_than_cores(data: DatasetRef, tmp_path: Path) -> None:
    busy = Workspace(load_settings(home=tmp_path / "workspace", train=TrainSettings(threads=8)))
    assert finetune.preflight
    found = finetune.preflight(FinetuneRequest(data=data), LAPTOP, busy)
    assert [f.fix for f in found if f.level == "warn"] == ["Set OPSWRIGHT_TRAIN__THREADS=2."]


def test_a_mistyped_base_is_refused_with_the_one_that_was_meant(
    data: DatasetRef, workspace: Workspace
) -> None:
    assert finetune.preflight
    with pytest.raises(AskError, match=r"base tinny not found.*Did you mean 'tiny'"):
        finetune.preflight(FinetuneRequest(data=data, base=Path("tinny")), LAPTOP, workspace)


def test_a_plan_whose_data_is_still_to_be_made_is_checked_as_far_as_it_goes(workspace: Workspace) -> None:
    request = FinetuneRequest(data=DatasetRef.pending(), base=CheckpointRef.pending())
    assert stops(request, LAPTOP, workspace) == []


def test_a_dataset_that_holds_no_chats_is_refused(workspace: Workspace) -> None:
    with workspace.artifacts.staging() as folder:
        (folder / "rows.csv").write_text("x")
        ref = workspace.artifacts.save(DatasetRef, folder, {})
    assert finetune.preflight
    with pytest.raises(AskError, match="no chat rows to train on"):
        finetune.preflight(FinetuneRequest(data=ref), LAPTOP, workspace)


def test_minutes_are_known_for_the_tiny_model_on_cpu_and_unknown_elsewhere(
    data: DatasetRef, workspace: Workspace, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name, text in (("config.json", '{"model_type": "llama"}'), ("tokenizer.json", "{}")):
        (base / name).write_text(text)
    weights = {"dtype": "F32", "shape": [3000, 1000], "data_offsets": [0, 12_000_000]}
    header = json.dumps({"w": weights}).encode()
    (base / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(base / "model.safetensors", 8 + len(header) + 12_000_000)
    estimate = finetune.estimate
    assert estimate
    tiny = estimate(FinetuneRequest(data=data), LAPTOP, workspace)
    assert tiny.minutes and 0.5 < tiny.minutes < 3 and tiny.gpu_hours == 0
    large = FinetuneRequest(data=data, tiny=TinyShape(layers=16, width=256))
    assert large.tiny and large.tiny.parameters > 10 * TinyShape().parameters
    slower = estimate(large, LAPTOP, workspace)
    assert (
        slower.minutes
        and slower.disk_bytes
        and tiny.disk_bytes
        and slower.minutes > 8 * tiny.minutes
        and slower.disk_bytes > tiny.disk_bytes
    )
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text(" " * 12_000 * 540)  # four times as long as labelled texts are
        long = workspace.artifacts.save(DatasetRef, folder, {"train_rows": 12_000, "validation_rows": 200})
    longer = estimate(FinetuneRequest(data=long), LAPTOP, workspace)
    assert longer.minutes and longer.minutes > 3 * tiny.minutes
    assert estimate(FinetuneRequest(data=data, base=base), LAPTOP, workspace).minutes is None
    assert estimate(FinetuneRequest(data=data), GPU_BOX, workspace).gpu_hours is None


def test_on_slurm_the_plan_shows_where_it_runs_and_what_the_time_limit_bounds(
    workspace: Workspace, tmp_path: Path
) -> None:
    slurm = {"walltime_minutes": 90, "partition": "gpu"}
    settings = load_settings(home=workspace.root, compute={"slurm": slurm}, train={"device": "cuda"})
    away = Workspace(settings)
    with away.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n" * 3)
        data = away.artifacts.save(DatasetRef, folder, {"train_rows": 300, "validation_rows": 0})
    request = FinetuneRequest(data=data, gpus=4, batch_size=64, compute="slurm")
    assert finetune.preflight and finetune.estimate
    found = finetune.preflight(request, LAPTOP, away)  # this machine has no GPU, and need not have one
    assert not any("this machine has" in one.message for one in found)
    cost = finetune.estimate(request, LAPTOP, away)
    assert (cost.minutes, cost.gpu_hours) == (90, 6)
    here = finetune.preflight(request.model_copy(update={"compute": None}), LAPTOP, away)
    assert any("it runs on this machine (compute: local)" in one.message for one in here)
