"""Which suites a classifier may be asked, and what is said of labels that only one of the two has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import ClassifierRef
from opswright.core.errors import AskError, BackendError
from opswright.core.machine import Machine
from opswright.core.workspace import Workspace
from opswright.engines.classifier import labels_of
from opswright.evals.suites import load_suite
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.skills.evaluate.labels import check_task, labels_beside
from opswright.skills.finetune.base import BaseFacts

ITEMS = [("angry words", "angry"), ("calm words", "calm"), ("sad words", "sad"), ("more sad words", "SAD")]


def classifier(workspace: Workspace, *labels: str) -> ClassifierRef:
    config = {"id2label": {str(place): label for place, label in enumerate(labels)}}
    with workspace.artifacts.staging() as folder:
        (folder / "config.json").write_text(json.dumps(config))
        return workspace.artifacts.save(ClassifierRef, folder, {"method": "classifier"})


def suite_file(folder: Path, head: str, more: str = "") -> Path:
    rows = "".join(f"  - {{text: {text}, target: {label}{more}}}\n" for text, label in ITEMS)
    (folder / "tones.yaml").write_text(f"{head}\nsamples:\n{rows}")
    return folder / "tones.yaml"


def findings(workspace: Workspace, model: ClassifierRef, suite: Any) -> list[str]:
    assert evaluate.preflight is not None
    asked = EvaluateRequest(model=model, suite=suite)
    found = evaluate.preflight(asked, Machine.here(workspace.root), workspace)
    return [f"{one.level}: {one.message}" for one in found]


def test_labels_that_only_one_of_the_two_has_are_counted_before_anything_runs(
    workspace: Workspace, tmp_path: Path
) -> None:
    model = classifier(workspace, "Calm", "angry", "happy")
    path = suite_file(tmp_path, "task: classify")
    beside = labels_beside(model, load_suite(path), workspace)
    assert (beside.known, beside.items, beside.of, beside.never_right) == (2, 2, 4, ("happy",))
    told = findings(workspace, model, path)
    assert any(
        "warn: 2 of 4 items have a label that the classifier did not learn, and so are wrong" in one
        for one in told
    )
    assert "warn: 1 of the classifier's 3 labels are right for no item (happy)." in told


def test_a_suite_without_a_common_label_stops_the_plan(workspace: Workspace, tmp_path: Path) -> None:
    model = classifier(workspace, "x", "y")
    told = findings(workspace, model, suite_file(tmp_path, "task: classify"))
    assert any(one.startswith("stop: ") and "knows none of the labels of suite tones" in one for one in told)


@pytest.mark.parametrize("suite", ["snips", "ragas_questions"])
def test_a_suite_of_another_task_stops_the_plan(workspace: Workspace, suite: str) -> None:
    told = findings(workspace, classifier(workspace, "x", "y"), suite)
    assert any(one.startswith("stop: ") and "a classifier generates nothing" in one for one in told)


def test_choices_are_taken_where_each_is_a_label_and_likelihood_is_that_of_the_whole(
    workspace: Workspace, tmp_path: Path
) -> None:
    choices = ", choices: [angry, calm, sad, SAD]"
    by_length = load_suite(suite_file(tmp_path, "task: choose", choices))
    with pytest.raises(AskError, match="choose_by: none, where each choice is a label"):
        check_task(by_length)
    whole = load_suite(suite_file(tmp_path, "task: choose\nchoose_by: none", choices))
    check_task(whole)
    assert labels_beside(classifier(workspace, "angry", "calm", "sad"), whole, workspace).known == 3
    told = findings(workspace, classifier(workspace, "angry", "calm", "sad"), whole.file)
    assert "warn: the suite adds choices to each item, which the classifier reads too." in told
    with pytest.raises(AskError, match=r"has choices that are no labels of classifier:.*: SAD, sad"):
        labels_beside(classifier(workspace, "angry", "calm"), whole, workspace)


def test_a_folder_that_names_no_labels_is_no_classifier(tmp_path: Path) -> None:
    for config in ("{}", "[", '{"id2label": {"1": "a"}}'):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(BackendError, match="names no labels"):
            labels_of(tmp_path)


def test_a_classifiers_folder_is_no_base(tmp_path: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AskError, match="holds a classifier, whose head would be lost"):
        BaseFacts.of_folder(tmp_path)
