"""Kinds of artifact that a package brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from opswright.core.artifact_refs import REF_TYPES, ArtifactRef, DatasetRef, parse_ref
from opswright.core.compile import compile_plan
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, BackendError
from opswright.core.plan_file import parse_plan
from opswright.core.registry import Registry, load_artifact_kinds
from opswright.core.workspace import Workspace


class LexiconRef(ArtifactRef):
    """Words beside a dataset."""

    kind: ClassVar[str] = "lexicon"


class OtherDatasetRef(ArtifactRef):
    """Takes a kind that there is."""

    kind: ClassVar[str] = "dataset"


class ApplyRequest(Request):
    lexicon: LexiconRef


class ApplyResult(Result):
    lexicon: LexiconRef


@skill(effect=Effect.WRITES, summary="Apply an lexicon.")
def apply(request: ApplyRequest, ctx: StepContext) -> ApplyResult:
    return ApplyResult(lexicon=request.lexicon)


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    before = dict(REF_TYPES)
    yield
    REF_TYPES.clear()
    REF_TYPES.update(before)


def brought(value: object) -> EntryPoint:
    class Point(EntryPoint):
        def load(self) -> object:
            return value

    return Point("x", "package:thing", "opswright.artifacts")


def test_a_brought_kind_is_kept_resolved_and_type_checked_like_the_others(workspace: Workspace) -> None:
    with pytest.raises(AskError, match="kind of"):
        parse_ref("lexicon:" + "0" * 64)
    load_artifact_kinds([brought(LexiconRef)])
    store = workspace.artifacts
    with store.staging() as folder:
        (folder / "lexicon.json").write_text(json.dumps({"rank": 8}))
        ref = store.save(LexiconRef, folder, {"rank": 8})
    assert isinstance(store.open(ref).ref, LexiconRef) and store.resolve(f"lexicon:{ref.digest[:8]}") == ref
    text = f"goal: x\nsteps:\n  a: {{skill: apply, with: {{lexicon: 'lexicon:{ref.digest[:8]}'}}}}\n"
    plan = compile_plan(parse_plan(text, "plan"), Registry([apply]), store.resolve)
    assert plan.steps[0].arguments["lexicon"] == ref
    wrong = text.replace("lexicon:", "dataset:").replace("{dataset:", "{lexicon:")
    with pytest.raises(AskError):
        compile_plan(parse_plan(wrong, "plan"), Registry([apply]), lambda name: DatasetRef.of("0" * 64))


@pytest.mark.parametrize(
    ("value", "error"), [(OtherDatasetRef, AskError), (str, BackendError), ("lexicon", BackendError)]
)
def test_a_kind_that_is_taken_or_none_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_artifact_kinds([brought(value)])
    assert REF_TYPES["dataset"] is DatasetRef
