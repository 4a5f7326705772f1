"""Classifiers, trained by AutoModel's own recipe in the worker, then asked suites of labels."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import ClassifierRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, HeldError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.dataset import DatasetWriter, write_report
from opswright.data.sample import Sample
from opswright.engines.base import GenerationOptions, user_chat
from opswright.engines.classifier import ClassifierEngine
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

THINGS = [
    "la tarjeta",
    "la cuenta",
    "el recibo",
    "el préstamo",
    "la hipoteca",
    "el cajero",
    "la clave",
    "el pago",
]
ASKED = {
    "bloqueo": ["quiero bloquear {}", "bloquead {} por favor", "he perdido {}"],
    "alta": ["quiero contratar {}", "cómo pido {}", "necesito {} nueva"],
    "queja": ["{} no funciona", "hay un error con {}", "{} está mal otra vez"],
}
HELD_OUT = {
    "bloqueo": "se puede bloquear {}",
    "alta": "quisiera contratar {}",
    "queja": "{} no funciona bien",
}


def rows() -> list[tuple[str, str]]:
    return [(said.format(one), label) for one in THINGS for label, some in ASKED.items() for said in some]


def held_out() -> list[tuple[str, str]]:
    return [(said.format(one), label) for one in THINGS for label, said in HELD_OUT.items()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("classify") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    split = [(*row, "train") for row in rows()] + [(*row, "validation") for row in held_out()[::3]]
    with shared.artifacts.staging() as folder:
        with DatasetWriter(folder, seed=0) as writer:
            for number, (text, label, side) in enumerate(split):
                writer.add(Sample.of(f"row:{number}", text, label), side, str(number))
        write_report(folder, {})
        counts = {"train_rows": len(rows()), "validation_rows": len(held_out()[::3]), "task": "classify"}
        return shared.artifacts.save(DatasetRef, folder, counts)


def step(workspace: Workspace, name: str) -> StepContext:
    workdir = workspace.run_folder("run-0") / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(workspace, "run-0", name, f"key-{name}", workdir)


def trained(workspace: Workspace, data: DatasetRef, name: str, **fields: Any) -> FinetuneResult:
    ask = {"data": data, "method": "classifier", "batch_size": 16, "epochs": 12, **fields}
    return finetune(FinetuneRequest.model_validate(ask), step(workspace, name))


@pytest.fixture(scope="module")
def tiny(shared: Workspace, data: DatasetRef) -> FinetuneResult:
    return trained(shared, data, "tiny", keep="best")


def suite_file(folder: Path, others: str = "") -> Path:
    items = "".join(f"  - {json.dumps({'text': text, 'target': label})}\n" for text, label in held_out())
    path = folder / "bank.yaml"
    path.write_text(f"task: classify\nsamples:\n{items}{others}")
    return path


def test_a_tiny_classifier_learns_its_labels_and_keeps_its_best_weights(
    shared: Workspace, tiny: FinetuneResult
) -> None:
    assert tiny.checkpoint is None and tiny.adapter is None and tiny.classifier is not None
    made = shared.artifacts.open(tiny.classifier)
    assert made.facts["method"] == "classifier" and made.facts["labels"] == 3
    losses = [json.loads(line) for line in (made.path / "validation.jsonl").read_text().splitlines()]
    best = min(losses, key=lambda one: float(one["val_loss"]))
    assert tiny.kept_step == best["step"] + 1 and tiny.validation_loss == best["val_loss"]
    config = json.loads((made.path / "config.json").read_text())
    assert config["id2label"] == {"0": "alta", "1": "bloqueo", "2": "queja"}
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert not (made.path / "generation_config.json").exists()


def test_it_is_evaluated_beside_the_same_baselines_and_says_which_labels_it_lacks(
    shared: Workspace, tiny: FinetuneResult, tmp_path: Path
) -> None:
    assert tiny.classifier is not None
    others = f"  - {json.dumps({'text': 'cierre de la cuenta', 'target': 'cierre'})}\n"
    suite = suite_file(tmp_path, others=others)
    found = evaluate(EvaluateRequest(model=tiny.classifier, suite=suite), step(shared, "asked"))
    assert found.n == 25 and 0.8 < found.value < 1 and found.errors == found.refused == 0
    assert "1 of 25 items have a label that the classifier did not learn" in found.note
    assert {"majority", "tfidf_logreg"} <= found.baselines.keys() and found.leaked is not None


def test_its_answers_do_not_depend_on_what_is_asked_beside_and_labels_have_probabilities(
    shared: Workspace, tiny: FinetuneResult
) -> None:
    assert tiny.classifier is not None
    engine = ClassifierEngine(shared.artifacts.open(tiny.classifier).path, "cpu", 1)
    chats = [user_chat(text) for text, _ in held_out()]
    together = [one.text for one in engine.generate(chats, GenerationOptions())]
    assert together == [engine.generate([chat], GenerationOptions())[0].text for chat in chats]
    scored = engine.loglikelihood(chats[:2], [["alta", "Bloqueo", "queja", "cierre"]] * 2)
    import math

    assert sum(math.exp(one.logprob) for one in scored[0][:3]) == pytest.approx(1, abs=1e-5)
    assert scored[0][3].error == "'cierre' is none of the classifier's 3 labels"
    likeliest = max(range(3), key=lambda place: scored[0][place].logprob)
    assert ["alta", "bloqueo", "queja"][likeliest] == together[0]
    empty, long = engine.generate([user_chat("  "), user_chat("cuenta " * 400)], GenerationOptions())
    assert empty.finish_reason == long.finish_reason == "refused"


def test_suites_it_cannot_answer_are_refused_before_anything_runs(
    shared: Workspace, tiny: FinetuneResult, tmp_path: Path
) -> None:
    assert tiny.classifier is not None
    ask = EvaluateRequest(model=tiny.classifier, suite="snips")
    with pytest.raises(AskError, match="is of task 'extract', and a classifier generates nothing"):
        evaluate(ask, step(shared, "extract"))
    findings = list(
        evaluate.preflight(  # type: ignore[misc]
            EvaluateRequest(model=tiny.classifier, suite="banking77"), Machine.here(shared.root), shared
        )
    )
    assert any(one.level == "stop" and "knows none of the labels" in one.message for one in findings)


def test_a_stopped_training_goes_on_and_makes_the_same_classifier(
    shared: Workspace, data: DatasetRef
) -> None:
    fields = {"keep": "last", "max_steps": 60, "epochs": 20, "checkpoint_every_steps": 10}
    whole = trained(shared, data, "whole", **fields)
    ctx = step(shared, "stopped")
    log = ctx.workdir / "checkpoints" / "training.jsonl"

    def stop() -> None:
        while not log.is_file() or len(log.read_bytes().splitlines()) < 25:
            time.sleep(0.02)
        ctx.cancelled.set()

    threading.Thread(target=stop, daemon=True).start()
    ask = {"data": data, "method": "classifier", "batch_size": 16, **fields}
    with pytest.raises(HeldError):
        finetune(FinetuneRequest.model_validate(ask), ctx)
    ctx.cancelled.clear()
    again = finetune(FinetuneRequest.model_validate(ask), ctx)
    assert again.resumed_from > 0 and again.steps == 60
    assert again.classifier == whole.classifier


def make_encoder(folder: Path) -> Path:
    """A BERT with random weights, and a tokenizer of its own kind."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=list(special.values()), show_progress=False
    )
    tokenizer.train_from_iterator([text for text, _ in rows()], trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=ends
    )
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)  # type: ignore[no-untyped-call]
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(fast), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def test_an_encoder_and_a_model_that_was_tuned_to_generate_are_bases_too(
    shared: Workspace, data: DatasetRef, tmp_path: Path
) -> None:
    base = make_encoder(tmp_path / "bert")
    found = trained(shared, data, "bert", base=base, learning_rate=3e-3, keep="last")
    assert isinstance(found.classifier, ClassifierRef)
    engine = ClassifierEngine(shared.artifacts.open(found.classifier).path, "cpu", 1)
    answers = engine.generate([user_chat(text) for text, _ in rows()], GenerationOptions())
    assert [one.text for one in answers] == [label for _, label in rows()]  # as its last steps had them
    first = finetune(
        FinetuneRequest(data=data, batch_size=16, epochs=4, max_steps=20), step(shared, "generates")
    )
    tuned = trained(shared, data, "tuned", base=first.checkpoint, epochs=8)
    assert tuned.classifier is not None
    made = shared.artifacts.open(tuned.classifier)
    assert first.checkpoint in made.parents
    assert ClassifierEngine(made.path, "cpu", 1).generate(
        [user_chat("he perdido la clave")], GenerationOptions()
    )
