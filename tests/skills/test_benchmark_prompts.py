"""What a benchmark sends where nobody says it: the prompts of what the bundle's model was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import ValidationError

from opswright.core.artifact_refs import ArtifactRef, BundleRef, CheckpointRef, DatasetRef, PendingArtifact
from opswright.core.errors import AskError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.benchmark import BenchmarkRequest
from opswright.skills.benchmark.prompts import prompts_of

R = TypeVar("R", bound=ArtifactRef)
URL = "http://127.0.0.1:8000/v1"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(load_settings(home=tmp_path / "ws"))


def saved(workspace: Workspace, kind: type[R], *parents: ArtifactRef, asked: str = "") -> R:
    with workspace.artifacts.staging() as stage:
        row = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "yes"}]}
        (stage / "validation.jsonl").write_text(f"{json.dumps(row)}\n" if asked else "")
        return workspace.artifacts.save(kind, stage, {"asked": asked}, parents)


def test_a_bundle_is_sent_what_its_model_was_last_trained_on(workspace: Workspace) -> None:
    first = saved(workspace, CheckpointRef, saved(workspace, DatasetRef, asked="what was asked long ago"))
    bundle = saved(
        workspace,
        BundleRef,
        saved(workspace, CheckpointRef, saved(workspace, DatasetRef, asked="where is it"), first),
    )
    found = prompts_of(BenchmarkRequest(model=bundle), workspace)
    assert [[message["content"] for message in chat] for chat in found.chats] == [["where is it"]]
    assert "which the model was trained on" in found.source
    assert prompts_of(BenchmarkRequest(model=URL, against=bundle), workspace) == found


def test_what_is_said_comes_first(workspace: Workspace) -> None:
    bundle = saved(workspace, BundleRef, saved(workspace, CheckpointRef, saved(workspace, DatasetRef)))
    data = saved(workspace, DatasetRef, asked="the other question")
    found = prompts_of(BenchmarkRequest(model=bundle, data=data), workspace)
    assert found.chats[0][0]["content"] == "the other question" and found.source == data.short


def test_a_bundle_of_unknown_training_asks_for_prompts(workspace: Workspace) -> None:
    request = BenchmarkRequest(model=saved(workspace, BundleRef))
    with pytest.raises(AskError, match=r"no dataset is known that bundle:\w+ learned from: give `suite`"):
        prompts_of(request, workspace)


def test_a_training_set_without_validation_rows_is_named(workspace: Workspace) -> None:
    bundle = saved(workspace, BundleRef, saved(workspace, CheckpointRef, saved(workspace, DatasetRef)))
    with pytest.raises(AskError, match=r"dataset:\w+, which the model was trained on holds no prompt"):
        prompts_of(BenchmarkRequest(model=bundle), workspace)


def test_a_bundle_that_is_not_made_yet_is_waited_for(workspace: Workspace) -> None:
    with pytest.raises(PendingArtifact):
        prompts_of(BenchmarkRequest(model=BundleRef.pending()), workspace)


def test_an_address_alone_is_asked_for_prompts() -> None:
    with pytest.raises(ValidationError, match="give `suite` or `data`: the prompts"):
        BenchmarkRequest(model=URL)
