"""Evaluation of a real, small model: as checkpoint and as engine; and what curating CLINC150 costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from opswright.core.artifact_refs import BundleRef, CheckpointRef, DatasetRef
from opswright.core.errors import BackendError
from opswright.core.workspace import Workspace
from opswright.data.dataset import training_rows
from opswright.data.published import clinc150
from opswright.evals.baselines import run_baselines
from opswright.evals.report import read_report
from opswright.evals.runner import choose_items
from opswright.evals.suites import load_suite
from opswright.skills.curate import CurateRequest, curate
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.skills.golden import GoldenRequest, golden
from opswright.ui.demo import example_domains

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ITEMS = 24
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|> ' + m['content'] + '</s>' }}"
    "{% else %}{{ '<|user|> ' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 0.2 M parameters that has learnt the first items of the suite by heart."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    torch.set_num_threads(2)
    pairs = [(item.question, item.answer) for item in choose_items(load_suite("clinc150"), ITEMS)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator([f" {part}" for pair in pairs for part in pair], trainer)
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(
        tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    architecture: Any = LlamaForCausalLM
    llama = architecture(config)
    optimizer = torch.optim.AdamW(llama.parameters(), lr=5e-3)
    rows = []
    for text, label in pairs:
        ask = tokenizer(f"<|user|> {text}<|assistant|>", add_special_tokens=False)["input_ids"]
        say = tokenizer(f" {label}</s>", add_special_tokens=False)["input_ids"]
        rows.append((ask + say, [-100] * len(ask) + say))
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([t + [0] * (longest - len(t)) for t, _ in rows])
    labels = torch.tensor([s + [-100] * (longest - len(s)) for _, s in rows])
    for _ in range(120):
        loss = llama(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("model")
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(model: Path, workspace: Workspace, tmp_path: Path) -> CheckpointRef:
    """The model in the store, with the rows it was trained on."""
    (tmp_path / "rows").mkdir()
    items = choose_items(load_suite("clinc150"), ITEMS)
    rows = {
        "text": [i.question for i in items],
        "label": [i.answer for i in items],
        "split": ["train"] * ITEMS,
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "rows" / "rows.parquet")
    data = workspace.artifacts.save(DatasetRef, tmp_path / "rows", {"train_rows": ITEMS})
    return workspace.artifacts.save(CheckpointRef, model, {"dataset": str(data)}, [data])


def slow_answer(folder: Path, prompt: str) -> str:
    """One prompt, one token at a time, from the whole sequence: no batch, no cache."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    llama: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokens = tokenizer(f"<|user|> {prompt}<|assistant|>", add_special_tokens=False)["input_ids"]
    said: list[int] = []
    while len(said) < 24 and (not said or said[-1] != 2):
        said.append(int(llama(torch.tensor([tokens + said])).logits[0, -1].argmax()))
    return str(tokenizer.decode(said, skip_special_tokens=True)).strip()


def test_a_checkpoint_is_measured_and_its_learning_by_heart_is_noticed(
    model: Path, checkpoint: CheckpointRef, context: Any, workspace: Workspace
) -> None:
    result = evaluate(EvaluateRequest(model=checkpoint, suite="clinc150", limit=ITEMS), context())
    assert result.value >= 0.9 and result.errors == 0
    assert result.leaked == ITEMS  # so the score is memory, and a gate will not take it
    assert result.baselines["tfidf_svc"] is not None
    assert result.baselines["tfidf_svc"] >= 0.9
    items = read_report(workspace.artifacts.open(result.report)).items
    assert [item.got for item in items[:4]] == [slow_answer(model, item.text) for item in items[:4]]


def test_an_engine_answers_as_its_checkpoint_and_finds_the_same_training_rows(
    model: Path, checkpoint: CheckpointRef, context: Any, workspace: Workspace, tmp_path: Path
) -> None:
    build = [
        sys.executable,
        "-m",
        "onnxruntime_genai.models.builder",
        "-m",
        model,
        "-o",
        tmp_path / "b/engine",
    ]
    subprocess.run(
        [*map(str, build), "-p", "fp32", "-e", "cpu", "-c", str(tmp_path / "cache")],
        check=True,
        capture_output=True,
    )
    bundle = workspace.artifacts.save(BundleRef, tmp_path / "b", {"target": "onnx-fp32"}, [checkpoint])
    as_engine, as_checkpoint = (
        evaluate(EvaluateRequest(model=one, suite="clinc150", limit=ITEMS), context())
        for one in (bundle, checkpoint)
    )
    engine_items, items = (
        read_report(workspace.artifacts.open(one.report)).items for one in (as_engine, as_checkpoint)
    )
    assert [item.got for item in engine_items] == [item.got for item in items]
    assert as_engine.leaked == ITEMS and as_engine.baselines == as_checkpoint.baselines


def test_weights_that_are_no_numbers_are_refused(
    model: Path, context: Any, workspace: Workspace, tmp_path: Path
) -> None:
    import shutil

    import torch
    from transformers import AutoModelForCausalLM

    broken: Any = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    shutil.copytree(model, tmp_path / "broken")
    broken.save_pretrained(tmp_path / "broken")
    ref = workspace.artifacts.save(CheckpointRef, tmp_path / "broken", {})
    with pytest.raises(BackendError, match=r"model\.norm\.weight .* NaN"):
        evaluate(EvaluateRequest(model=ref, suite="clinc150", limit=4), context())


def test_curating_clinc150_keeps_the_linear_models_accuracy(context: Any, workspace: Workspace) -> None:
    """Without curating the linear SVM gets 91.4 % on the old domains; with it, nearly that (decision 010)."""
    ctx = context()
    kept_out = golden(GoldenRequest(suite="clinc150"), ctx)
    data = curate(
        CurateRequest(
            source=clinc150.FOLDER, domains=example_domains("old_domains"), golden=kept_out.dataset
        ),
        ctx,
    )
    assert data.leaked["near_duplicate"] > 0 and sum(data.dropped.values()) < 400 and data.rows > 11_600
    items = [
        item for item in load_suite("clinc150").items if item.tags["domain"] in example_domains("old_domains")
    ]
    rows = training_rows(ctx.artifacts.open(data.dataset))
    found = run_baselines("classify", rows, items, lambda done, of: None).baselines
    right = {
        one.name: sum(a == item.answer for a, item in zip(one.answers, items, strict=True)) / len(items)
        for one in found
    }
    assert right["tfidf_svc"] >= 0.910 and right["tfidf_logreg"] >= 0.905 and right["majority"] < 0.01
