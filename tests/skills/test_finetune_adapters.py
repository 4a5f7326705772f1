"""Adapters, teachers and data that a training may not take; the real trainings are in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import AdapterRef, CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, IntegrityError
from opswright.core.files import sha256_path
from opswright.evals.lineage import training_datasets
from opswright.skills.finetune import FinetuneRequest
from opswright.skills.finetune.adapters import base_of
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.layout import data_facts, teacher_folder
from opswright.skills.finetune.teacher import check_reads_alike, check_same_tokens

Context = Callable[..., StepContext]


def save(ctx: StepContext, ref: Any, name: str, facts: dict[str, Any], parents: Any = ()) -> Any:
    with ctx.artifacts.staging() as folder:
        (folder / name).write_text(json.dumps(facts) + name)
        return ctx.artifacts.save(ref, folder, facts, parents)


def test_adapters_are_used_on_the_very_base_they_were_trained_on(context: Context, tmp_path: Path) -> None:
    ctx = context()
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    facts = {"base": str(base), "base_digest": sha256_path(base)}
    adapter = ctx.artifacts.open(save(ctx, AdapterRef, "adapter_config.json", facts))
    assert base_of(adapter, ctx.workspace) == base
    (base / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(IntegrityError, match="another digest"):
        base_of(adapter, ctx.workspace)
    base.rename(tmp_path / "away")
    with pytest.raises(AskError, match="is not here, and adapters are nothing without it"):
        base_of(adapter, ctx.workspace)


def test_what_adapters_and_a_teacher_learned_from_is_remembered(context: Context) -> None:
    ctx = context()
    rows = save(ctx, DatasetRef, "train.jsonl", {"n": 1})
    earlier = save(ctx, DatasetRef, "train.jsonl", {"n": 2})
    teacher = save(ctx, CheckpointRef, "config.json", {"n": 3}, [earlier])
    adapter = save(ctx, AdapterRef, "adapter_config.json", {"base": "x"}, [rows, teacher])
    assert training_datasets(ctx.artifacts, adapter) == [rows, earlier]


def test_preferences_are_refused_in_words(context: Context) -> None:
    ctx = context()
    facts = {"task": "prefer", "train_rows": 5, "validation_rows": 0}
    data = save(ctx, DatasetRef, "train.jsonl", facts)
    with pytest.raises(AskError, match=r"has no preference training.*curate again with task=generate"):
        data_facts(ctx.artifacts.open(data), FinetuneRequest(data=data))


def test_a_nemo_archive_as_teacher_names_the_import(context: Context, tmp_path: Path) -> None:
    ctx = context()
    archive = tmp_path / "model.nemo"
    archive.write_bytes(b"tar")
    ask = FinetuneRequest(data=DatasetRef.pending(), base=tmp_path, teacher=archive)
    with pytest.raises(AskError, match="opswright nemo-archive --action import --archive"):
        teacher_folder(ask, ctx.workspace)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "tokenizer of its own"),
        ({"base": "models/small", "packing": True}, "Leave packing out"),
        ({"base": "models/small", "method": "qlora"}, "4 bits was never tried"),
    ],
)
def test_what_was_never_tried_with_a_teacher_is_refused(more: dict[str, Any], why: str) -> None:
    ask = {"data": DatasetRef.pending(), "teacher": "models/large", **more}
    with pytest.raises(ValueError, match=why):
        FinetuneRequest.model_validate(ask)


def test_a_teacher_that_reads_or_says_something_else_is_refused() -> None:
    student = BaseFacts(vocabulary=100, positions=512)
    check_reads_alike(student, BaseFacts(vocabulary=100, positions=512), 256)
    with pytest.raises(AskError, match="Set max_tokens=128 or less"):
        check_reads_alike(student, BaseFacts(vocabulary=100, positions=128), 256)
    with pytest.raises(AskError, match="101 different tokens and the base 100"):
        check_reads_alike(student, BaseFacts(vocabulary=101, positions=512), 256)


def test_a_teacher_with_as_many_other_tokens_is_refused() -> None:
    own = {"a": 0, "b": 1, "c": 2}
    check_same_tokens(own, dict(own))
    with pytest.raises(AskError, match="2 tokens differ, as 'b'"):
        check_same_tokens(own, {"a": 0, "c": 1, "b": 2})


def test_a_tokenizer_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.py", null]}}')
    with pytest.raises(AskError, match=r"tokenizer_config\.json asks to run its own code"):
        BaseFacts.of_folder(tmp_path)


def test_a_suite_that_chooses_fits_neither_the_last_weights_nor_several_gpus() -> None:
    ask = {"data": DatasetRef.pending(), "keep_by": "clinc150"}
    assert FinetuneRequest.model_validate(ask).keep == "best"
    with pytest.raises(ValueError, match="keep is 'last'"):
        FinetuneRequest.model_validate({**ask, "keep": "last"})
    with pytest.raises(ValueError, match="in one process"):
        FinetuneRequest.model_validate({**ask, "gpus": 2})
