"""A `.nemo` archive as base: refused before anything starts, found again, in the plan by its digest.

The import itself, with torch, is in tests/e2e/test_finetune_nemo_base_real.py.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.compile import compile_plan
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, NeedsError
from opswright.core.files import sha256_file, sha256_path
from opswright.core.machine import Machine
from opswright.core.plan_file import read_plan_file
from opswright.core.workspace import Workspace
from opswright.skills import load_registry
from opswright.skills.finetune import FinetuneRequest, finetune
from opswright.skills.finetune.checks import estimate, preflight
from opswright.skills.finetune.layout import base_folder, with_models_here
from opswright.skills.finetune.nemo_base import NotImported
from opswright.skills.nemo_archive.importable import NemoImport
from opswright.skills.nemo_archive.importing import find_import
from opswright.skills.nemo_archive.megatron import TARGETS

Context = Callable[..., StepContext]
CONFIG = {
    "target": TARGETS[0],
    "num_layers": 2, "hidden_size": 64, "ffn_hidden_size": 96, "num_attention_heads": 4,
    "max_position_embeddings": 128, "normalization": "rmsnorm", "activation": "fast-swiglu", "bias": False,
    "position_embedding_type": "rope", "share_embeddings_and_output_weights": False,
}  # fmt: skip


def archive(path: Path, config: dict[str, Any], weights: object) -> Path:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("model_weights/data.pkl", pickle.dumps(weights))
    members = {"model_config.yaml": yaml.safe_dump(config).encode(), "model_weights.ckpt": zipped.getvalue()}
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return archive(tmp_path / "model.nemo", CONFIG, {})


@pytest.fixture
def given(tmp_path: Path) -> NemoImport:
    tokenizer, golden = tmp_path / "tokenizer", tmp_path / "golden.jsonl"
    tokenizer.mkdir()
    vocabulary = {f"t{number}": number for number in range(300)}
    (tokenizer / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    golden.write_text('{"prompt": "one plus two", "answer": "three"}\n')
    return NemoImport(tokenizer=tokenizer, golden=golden)


def data_of(ctx: StepContext) -> DatasetRef:
    with ctx.artifacts.staging() as stage:
        (stage / "train.jsonl").write_text("{}\n" * 100)
        return ctx.artifacts.save(DatasetRef, stage, {"train_rows": 100, "validation_rows": 0})


def imported(ctx: StepContext, model: Path, given: NemoImport) -> CheckpointRef:
    """What an import of the archive would have saved."""
    assert given.tokenizer is not None and given.golden is not None
    digests = {
        "tokenizer": sha256_path(given.tokenizer),
        "golden": sha256_file(given.golden),
        "min_golden": given.min_golden,
    }
    facts = {"method": "import", "base_digest": sha256_file(model), "given": digests}
    with ctx.artifacts.staging() as stage:
        (stage / "config.json").write_text('{"model_type": "llama"}')
        return ctx.artifacts.save(CheckpointRef, stage, facts)


@pytest.mark.parametrize(
    ("config", "weights", "left_out", "why"),
    [
        (CONFIG, print, "", "its weights would import builtins.print"),
        (CONFIG | {"target": "os.system"}, {}, "", r"made by 'os\.system', which is not read"),
        (CONFIG | {"tensor_model_parallel_size": 2}, {}, "", "are split"),
        (CONFIG | {"num_moe_experts": 8}, {}, "", "no dense Llama-like"),
        (CONFIG, {}, "tokenizer", "its import needs `tokenizer`"),
        (CONFIG, {}, "golden", "its import needs `golden`"),
    ],
)
def test_an_archive_that_cannot_be_imported_is_refused_before_anything_starts(
    context: Context,
    tmp_path: Path,
    given: NemoImport,
    config: dict[str, Any],
    weights: object,
    left_out: str,
    why: str,
) -> None:
    ctx = context()
    has = given.model_copy(update={left_out: None} if left_out else {})
    ask = FinetuneRequest(
        data=data_of(ctx), base=archive(tmp_path / "other.nemo", config, weights), nemo=has, warmup_steps=0
    )
    with pytest.raises(AskError, match=why):
        list(preflight(ask, Machine.here(ctx.workspace.root), ctx.workspace))
    with pytest.raises(AskError, match=why):
        finetune(ask, ctx)
    assert list(ctx.workdir.iterdir()) == []


def test_golden_answers_that_are_none_are_refused_before_anything_starts(
    context: Context, model: Path, given: NemoImport
) -> None:
    assert given.golden is not None
    given.golden.write_text('{"prompt": "one plus two"}\n')
    with pytest.raises(AskError, match=r"golden\.jsonl, line 1: expected prompt and answer"):
        base_folder(FinetuneRequest(data=DatasetRef.pending(), base=model, nemo=given), context().workspace)


def test_no_archive_is_a_base_where_torch_was_told_to_trust_everything(
    context: Context, model: Path, given: NemoImport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ctx = context()
    ask = FinetuneRequest(data=data_of(ctx), base=model, nemo=given)
    found = list(preflight(ask, Machine.here(ctx.workspace.root), ctx.workspace))
    assert any(one.level == "stop" and "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in one.message for one in found)
    with pytest.raises(NeedsError, match="torch would run what a weights file says"):
        finetune(ask, ctx)


def test_an_archive_is_looked_at_before_it_is_imported(
    context: Context, model: Path, given: NemoImport
) -> None:
    ctx = context()
    machine = Machine.here(ctx.workspace.root)
    ask = FinetuneRequest(data=data_of(ctx), base=model, nemo=given)
    with pytest.raises(NotImported, match=r"model\.nemo is imported when the step runs") as pending:
        base_folder(ask, ctx.workspace)
    facts = pending.value.facts
    assert (facts.hidden, facts.layers, facts.vocabulary, facts.positions) == (64, 2, 300, 128)
    told = [one.message for one in preflight(ask, machine, ctx.workspace)]
    assert any("is imported when the step runs" in line and "learning rate" in line for line in told)
    assert any("a step needs about" in line for line in told)
    assert estimate(ask, machine, ctx.workspace).minutes is not None


def test_an_archive_that_was_imported_is_found_by_what_it_and_its_answers_hold(
    context: Context, model: Path, given: NemoImport
) -> None:
    ctx = context()
    ref = imported(ctx, model, given)
    ask = FinetuneRequest(data=data_of(ctx), base=model, nemo=given)
    assert with_models_here(ask, ctx).base == ref
    assert base_folder(ask, ctx.workspace) == ctx.artifacts.open(ref).path
    assert find_import(model, given.model_copy(update={"min_golden": 0.5}), ctx.artifacts) is None
    assert given.golden is not None
    given.golden.write_text('{"prompt": "one plus two", "answer": "four"}\n')
    assert find_import(model, given, ctx.artifacts) is None
    given.golden.write_text('{"prompt": "one plus two", "answer": "three"}\n')
    model.write_bytes(model.read_bytes() + b"\0")
    assert find_import(model, given, ctx.artifacts) is None


def test_an_import_that_was_damaged_since_is_made_again(
    context: Context, model: Path, given: NemoImport
) -> None:
    ctx = context()
    ref = imported(ctx, model, given)
    (ctx.artifacts.folder(ref) / "files" / "config.json").write_text("{}")
    assert find_import(model, given, ctx.artifacts) is None


def test_archive_tokenizer_and_golden_answers_enter_the_plans_id(
    workspace: Workspace, model: Path, given: NemoImport, tmp_path: Path
) -> None:
    assert given.tokenizer is not None and given.golden is not None
    (tmp_path / "rows.jsonl").write_text("{}\n")
    steps = {
        "data": {"skill": "curate", "with": {"source": "rows.jsonl"}},
        "model": {
            "skill": "finetune",
            "with": {
                "data": "${data.dataset}",
                "base": str(model),
                "nemo": {"tokenizer": str(given.tokenizer), "golden": str(given.golden)},
            },
        },
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"goal": "Go on", "steps": steps}))

    def plan_id() -> str:
        return compile_plan(read_plan_file(tmp_path / "plan.yaml"), load_registry()).id

    seen = {plan_id(), plan_id()}
    assert len(seen) == 1
    for path in (model, given.golden, given.tokenizer / "tokenizer.json"):
        path.write_bytes(path.read_bytes() + b"\n")
        seen.add(plan_id())
    assert len(seen) == 4


@pytest.mark.parametrize("base", ["tiny", f"checkpoint:{'a' * 64}", f"hf:owner/name@{'a' * 40}"])
def test_what_an_import_needs_is_for_archives_alone(base: str, given: NemoImport) -> None:
    values = {"data": f"dataset:{'d' * 64}", "base": base, "nemo": given.model_dump()}
    with pytest.raises(ValidationError, match=r"nemo is for a \.nemo file as base"):
        FinetuneRequest.model_validate(values)


def test_a_folder_as_base_takes_nothing_of_an_import(
    context: Context, given: NemoImport, tmp_path: Path
) -> None:
    ask = FinetuneRequest(data=DatasetRef.pending(), base=tmp_path, nemo=given)
    with pytest.raises(AskError, match="Leave it out"):
        base_folder(ask, context().workspace)
