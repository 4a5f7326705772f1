"""One declaration of a skill, and what is made from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from opswright.core.artifact_refs import ArtifactRef, CheckpointRef, DatasetRef
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, BackendError, BudgetError, HeldError
from opswright.core.registry import Registry, discover, load_skill


class ShoutRequest(Request):
    text: str
    times: Annotated[int, Field(ge=1, le=9, description="How often.")] = 1
    mode: Literal["loud", "louder"] = "loud"
    data: DatasetRef | None = None


class ShoutResult(Result):
    text: str


@skill(effect=Effect.READS, summary="Shout a text.", phrases=["shout {text}"])
def shout_out(request: ShoutRequest, ctx: StepContext) -> ShoutResult:
    """Shout it.

    Example: `/shout-out text=hey times=2`
    """
    return ShoutResult(text=request.text.upper() * request.times)


def test_name_types_and_example_come_from_the_declaration() -> None:
    assert shout_out.name == "shout-out" and shout_out.request is ShoutRequest
    assert shout_out.example == "/shout-out text=hey times=2"
    assert shout_out.schema()["properties"]["times"]["maximum"] == 9
    assert not shout_out.reusable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "'text' is required"),
        ({"text": "a", "tims": 2}, "unknown argument 'tims'.*Did you mean 'times'"),
        ({"text": "a", "times": 10}, "'times'.*less than or equal to 9.*found '10'"),
        ({"text": "a", "mode": "quiet"}, "'mode'"),
        ({"text": "a", "data": "b" * 64}, "'data': expected a reference like dataset:.*found 'bbb"),
        (
            {"text": "a", "data": "checkpoint:" + "a" * 64},
            r"a checkpoint is not taken here \(of .*: dataset\)",
        ),
    ],
)
def test_a_wrong_request_is_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(AskError, match=message):
        shout_out.parse(arguments)


def test_a_request_cannot_be_changed_after_it_was_checked() -> None:
    request = shout_out.parse({"text": "a"})
    with pytest.raises(ValidationError, match="frozen"):
        request.text = "b"  # type: ignore[misc]  # as code that is not checked would


def test_a_declaration_without_request_or_result_is_refused() -> None:
    with pytest.raises(TypeError, match="annotated with a Request"):
        skill(effect=Effect.READS, summary="x")(lambda request, ctx: ShoutResult(text=""))


def test_an_artifact_reference_keeps_its_kind() -> None:
    ref = DatasetRef.of("ab" * 32)
    assert ref.short == "dataset:abababababab" and not ref.is_pending and DatasetRef.pending().is_pending
    other: ArtifactRef = CheckpointRef.of("ab" * 32)
    assert other != ref


def test_a_cancelled_or_late_step_stops_at_its_next_word(context: Callable[..., StepContext]) -> None:
    ctx = context()
    ctx.progress(1, 2, "rows")
    ctx.cancelled = threading.Event()
    ctx.cancelled.set()
    with pytest.raises(HeldError, match="stopped by a person"):
        ctx.progress(2, 2, "rows")
    late = context()
    late.deadline = time.monotonic() - 1
    with pytest.raises(BudgetError, match="time budget ended"):
        late.check()


def test_a_registry_takes_each_name_once_and_suggests_the_nearest() -> None:
    registry = Registry([shout_out])
    with pytest.raises(AskError, match="two skills are named 'shout-out'"):
        registry.add(shout_out)
    with pytest.raises(AskError, match="Did you mean 'shout-out'"):
        registry.get("shoutout")
    assert "shout-out" in registry and [s.name for s in registry] == ["shout-out"]


def test_other_packages_bring_skills_by_an_entry_point() -> None:
    point = EntryPoint("gpus", "opswright.skills.gpus:gpus", "opswright.skills")
    assert [s.name for s in discover([point])] == ["gpus"]
    with pytest.raises(BackendError, match="is not a skill"):
        load_skill("opswright.core.errors:AskError")
