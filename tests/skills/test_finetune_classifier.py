"""A classifier: what it is asked, the recipe it becomes, the rows it learns; trained in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opswright.core.artifact_refs import CheckpointRef, ClassifierRef, DatasetRef
from opswright.core.compile import compile_plan
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.machine import Machine
from opswright.core.plan_file import parse_plan
from opswright.core.workspace import Workspace
from opswright.engines.classifier import pad_token, text_read, token_rows
from opswright.skills import load_registry
from opswright.skills.finetune import FinetuneRequest
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.checks import preflight
from opswright.skills.finetune.classes import LABELS, classes_of, read_labels, write_labels
from opswright.skills.finetune.labelled_text import LabelledText
from opswright.skills.finetune.layout import data_facts, lay_out
from opswright.skills.finetune.recipe import DataFacts, compile_recipe

DATA = DatasetRef.of("d" * 64)
ROWS = [("¿dónde está mi tarjeta?", "tarjeta"), ("cobro doble", "Cobro"), ("me cobraron dos veces", "cobro")]


def chat(text: str, label: str) -> str:
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
    return json.dumps({"messages": said}) + "\n"


def save_rows(
    workspace: Workspace,
    rows: Sequence[tuple[str, str]] = ROWS,
    held_out: Sequence[tuple[str, str]] = (),
    task: str | None = "classify",
) -> DatasetRef:
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(chat(*row) for row in rows))
        (folder / "validation.jsonl").write_text("".join(chat(*row) for row in held_out))
        facts = {"train_rows": len(rows), "validation_rows": len(held_out)}
        return workspace.artifacts.save(DatasetRef, folder, facts | ({"task": task} if task else {}))


def asked(data: DatasetRef = DATA, **fields: Any) -> FinetuneRequest:
    return FinetuneRequest.model_validate({"data": data, "method": "classifier", **fields})


@dataclass
class Words:
    """A tokenizer of words, each its own length; special tokens 0 to 2."""

    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    unk_token_id: int | None = None
    model_max_length: int = 8
    ends: bool = False

    @property
    def all_special_ids(self) -> list[int]:
        return [0, 1, 2]

    def __call__(self, texts: list[str], truncation: bool) -> dict[str, list[list[int]]]:
        end = [2] if self.ends else []
        return {"input_ids": [[10 + len(word) for word in text.split()] + end for text in texts]}


def test_the_recipe_is_automodels_sequence_classification_on_the_base() -> None:
    llama = BaseFacts("llama", has_weights=True, parameters=10**6)
    found = compile_recipe(asked(base=CheckpointRef.of("c" * 64)), DataFacts(100, 10, labels=7), llama)
    assert found.values["recipe"] == "TrainFinetuneRecipeForSequenceClassification"
    assert found.values["model"]["_target_"].endswith("ForSequenceClassification.from_pretrained")
    assert found.values["model"]["num_labels"] == 7 and "loss_fn" not in found.values
    for name in ("dataset", "validation_dataset"):
        assert found.values[name]["_target_"].endswith("finetune.labelled_text.LabelledText")
    tiny = compile_recipe(asked(), DataFacts(100, 0, labels=7), BaseFacts()).values
    assert tiny["model"]["_target_"].endswith("from_config") and "validation_dataset" not in tiny


@pytest.mark.parametrize(
    "field",
    [
        {"packing": True},
        {"learn": "last"},
        {"keep_by": "clinc150"},
        {"teacher": CheckpointRef.of("c" * 64)},
        {"overrides": {"peft.dropout": 0.1}},
    ],
)
def test_what_only_a_model_that_generates_has_a_use_for_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(field))}.* is for a model that generates"):
        asked(base=CheckpointRef.of("b" * 64), **field)


def test_labels_that_differ_in_case_alone_are_one_in_the_usual_spelling(workspace: Workspace) -> None:
    held_out = [("¿y mi tarjeta?", "TARJETA"), ("cerrar la cuenta", "cierre")]
    rows = [*ROWS, ("otro cobro", "cobro")]
    found = classes_of(workspace.artifacts.open(save_rows(workspace, rows, held_out)))
    assert found.labels == ("cobro", "tarjeta")
    assert (found.train_rows, found.validation_rows, found.unknown) == (4, 1, 1)


@pytest.mark.parametrize("task", ["extract", "generate", "chat", "choose", "answer"])
def test_data_of_another_task_is_refused_when_it_is_planned(task: str, workspace: Workspace) -> None:
    with pytest.raises(AskError, match=f"holds rows of task '{task}', and a classifier learns labels"):
        preflight(asked(save_rows(workspace, task=task)), Machine.here(workspace.root), workspace)


def test_one_label_is_none_to_tell_apart(workspace: Workspace) -> None:
    data = workspace.artifacts.open(save_rows(workspace, [("a", "x"), ("b", "X")]))
    with pytest.raises(AskError, match=r"have 1 label\(s\); a classifier needs two"):
        data_facts(data, asked())


def test_validation_rows_whose_label_nobody_learned_count_nowhere_and_are_said(
    workspace: Workspace,
) -> None:
    request = asked(save_rows(workspace, held_out=[("cerrar", "cierre")]))
    assert data_facts(workspace.artifacts.open(request.data), request).validation_rows == 0
    said = [finding.message for finding in preflight(request, Machine.here(workspace.root), workspace)]
    assert "1 validation rows are left out: no training row has their label." in said
    assert "the classifier answers with one of 2 labels, and generates nothing." in said


def test_the_worker_finds_the_labels_in_the_order_of_the_head(
    context: Callable[..., StepContext], workspace: Workspace
) -> None:
    ctx, request = context(), asked(save_rows(workspace))
    data = workspace.artifacts.open(request.data)
    lay_out(request, ctx, data, compile_recipe(request, data_facts(data, request), BaseFacts()), "cpu")
    assert read_labels(ctx.workdir / LABELS) == ("Cobro", "tarjeta")


def test_rows_are_tokens_and_the_place_of_the_label_and_fill_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path / LABELS, ["cobro", "tarjeta"])
    (tmp_path / "train.jsonl").write_text("".join(chat(*row) for row in [*ROWS, ("cerrar", "cierre")]))
    words: Any = Words(pad_token_id=7)
    rows = LabelledText("train.jsonl", fill_to_multiple_of=2).build(tokenizer=words)
    assert [row["labels"] for row in rows[:]] == [[1], [0], [0], [1]]
    first = rows[1]
    assert first["input_ids"] == [15, 15, 2] and first["attention_mask"] == [1, 1, 1]
    first.pop("___PAD_TOKEN_IDS___")  # as AutoModel's collater does
    assert rows[1]["___PAD_TOKEN_IDS___"]["input_ids"] == 7


def test_rows_longer_than_the_tokenizers_own_limit_are_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path / LABELS, ["a", "b"])
    rows = [("uno dos", "a")] * 30 + [("uno " * 9, "b")]
    (tmp_path / "train.jsonl").write_text("".join(chat(*row) for row in rows))
    built = LabelledText("train.jsonl", max_tokens=100).build(tokenizer=Words())  # type: ignore[arg-type]
    assert len(built) == 30
    with pytest.raises(AskError, match="1 of 31 rows have more than max_tokens 8 tokens"):
        LabelledText("train.jsonl", max_tokens=100, too_long="refuse").build(tokenizer=Words())  # type: ignore[arg-type]


def test_a_decoder_ends_each_text_and_an_encoder_ends_it_itself() -> None:
    assert token_rows(Words(), ["hola", ""]) == [[14, 2], [2]]  # type: ignore[arg-type]
    assert token_rows(Words(ends=True), ["hola"]) == [[14, 2]]  # type: ignore[arg-type]
    assert token_rows(Words(eos_token_id=None), ["hola"]) == [[14]]  # type: ignore[arg-type]


def test_what_pads_is_not_what_ends_a_text_where_there_is_another_token() -> None:
    assert pad_token(Words()) == 0  # type: ignore[arg-type]
    assert pad_token(Words(pad_token_id=2)) == 1  # type: ignore[arg-type]
    assert pad_token(Words(pad_token_id=None, bos_token_id=2)) == 2  # type: ignore[arg-type]


def test_a_classifier_reads_all_that_is_said_but_instructions() -> None:
    said = [
        ("system", "Answer with a label."),
        ("user", "hola"),
        ("assistant", "sí?"),
        ("user", "mi tarjeta"),
    ]
    assert text_read([{"role": role, "content": text} for role, text in said]) == "hola\n\nsí?\n\nmi tarjeta"


PLAN = """
goal: try
steps:
  model: {{skill: finetune, with: {{data: "{data}", method: {method}, base: "{base}"}}}}
  next: {{skill: {skill}, with: {{model: "${{model.{field}}}"{more}}}}}
"""


@pytest.mark.parametrize(
    ("method", "field", "skill", "why"),
    [
        (
            "classifier",
            "checkpoint",
            "build-engine",
            "makes a classifier, which can be evaluated and",
        ),
        ("classifier", "checkpoint", "evaluate", "take `classifier`"),
        ("classifier", "classifier", "build-engine", "cannot take"),
        ("sft", "classifier", "evaluate", "makes a model that generates"),
        ("sft", "adapter", "evaluate", "makes no adapters"),
    ],
)
def test_a_plan_that_hands_on_what_its_method_does_not_make_is_refused(
    method: str, field: str, skill: str, why: str
) -> None:
    more = ", suite: clinc150" if skill == "evaluate" else ", target: onnx-int8"
    text = PLAN.format(data=DATA, method=method, field=field, skill=skill, more=more, base="tiny")
    with pytest.raises(AskError, match=why) as error:
        compile_plan(parse_plan(text, "plan.yaml"), load_registry())
    assert "plan.yaml, line 5" in str(error.value)


def test_a_plan_that_evaluates_a_classifier_compiles() -> None:
    text = PLAN.format(
        data=DATA,
        method="classifier",
        field="classifier",
        skill="evaluate",
        more=", suite: clinc150",
        base="tiny",
    )
    assert compile_plan(parse_plan(text, "plan.yaml"), load_registry()).steps[1].arguments["model"]


def test_a_classifier_cannot_be_a_base_nor_be_built_by_name() -> None:
    ref = ClassifierRef.of("e" * 64)
    registry = load_registry()
    with pytest.raises(AskError, match="model"):
        registry.get("build-engine").parse({"model": str(ref), "target": "onnx-int8"})
    assert registry.get("evaluate").parse({"model": str(ref), "suite": "clinc150"}).model == ref


def test_a_learning_curve_of_classifiers_measures_classifiers() -> None:
    from opswright.skills.learning_curve import LearningCurveRequest, plan_of

    request = LearningCurveRequest(data=DATA, suite="clinc150", training={"method": "classifier"})
    steps = plan_of(request)["steps"]
    models = [step["with"]["model"] for step in steps.values() if step["skill"] == "evaluate"]
    assert models and all(model.endswith(".classifier}") for model in models)
