"""Plans: from a file with lines to canonical bytes, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.compile import compile_plan
from opswright.core.contract import Effect, InputPath, Request, Result, StepContext, skill
from opswright.core.errors import AskError, IntegrityError
from opswright.core.files import sha256_json
from opswright.core.gate import GateSpec
from opswright.core.plan import Plan
from opswright.core.plan_file import parse_plan, read_plan_file
from opswright.core.registry import Registry


class PrepareRequest(Request):
    source: InputPath
    extra: InputPath | None = None
    share: float = 0.25


class PrepareResult(Result):
    dataset: DatasetRef
    rows: int


@skill(effect=Effect.WRITES, summary="Prepare data.")
def prepare(request: PrepareRequest, ctx: StepContext) -> PrepareResult:
    raise RuntimeError("never run here")


class LearnRequest(Request):
    data: DatasetRef
    base: CheckpointRef | None = None
    epochs: int = 3
    mix: tuple[DatasetRef, ...] = ()


class LearnResult(Result):
    checkpoint: CheckpointRef


@skill(effect=Effect.WRITES, summary="Learn.")
def learn(request: LearnRequest, ctx: StepContext) -> LearnResult:
    raise RuntimeError("never run here")


class MeasureRequest(Request):
    model: CheckpointRef
    suite: str


class MeasureResult(Result):
    report: EvalReportRef


@skill(effect=Effect.WRITES, summary="Measure.")
def measure(request: MeasureRequest, ctx: StepContext) -> MeasureResult:
    raise RuntimeError("never run here")


class GateRequest(Request):
    report: EvalReportRef
    spec: GateSpec


class GateResult(Result):
    verdict: str


@skill(effect=Effect.READS, summary="Judge.")
def gate(request: GateRequest, ctx: StepContext) -> GateResult:
    raise RuntimeError("never run here")


class ServeRequest(Request):
    model: CheckpointRef
    endpoint: str


class ServeResult(Result):
    url: str


@skill(effect=Effect.SERVES, summary="Serve.")
def serve(request: ServeRequest, ctx: StepContext) -> ServeResult:
    raise RuntimeError("never run here")


REGISTRY = Registry([prepare, learn, measure, gate, serve])

GOOD = """\
goal: Ship it
budget: {minutes: 15}
gates:
  release: {suite: tiny, min: 0.8, against: stable}
steps:
  data: {skill: prepare, with: {source: rows.txt}}
  model:
    skill: learn
    with:
      data: "${data.dataset}"
      mix: ["${data.dataset}"]
  eval: {skill: measure, with: {model: "${model.checkpoint}", suite: tiny}, gate: release}
  live: {skill: serve, with: {model: "${model.checkpoint}", endpoint: support}}
"""


@pytest.fixture(autouse=True)
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.txt"
    path.write_text("a\nb\n")
    return path


def compiled(text: str = GOOD) -> Plan:
    return compile_plan(parse_plan(text, "plan.yaml"), REGISTRY)


def refusal(text: str) -> str:
    with pytest.raises(AskError) as caught:
        compiled(text)
    return str(caught.value)


def test_every_default_is_written_out_and_the_gate_becomes_a_step_after_its_eval() -> None:
    plan = compiled()
    assert [step.id for step in plan.steps] == ["data", "model", "eval", "eval.gate", "live"]
    assert plan.steps[0].arguments == {"source": "rows.txt", "extra": None, "share": 0.25}
    assert plan.steps[1].arguments["epochs"] == 3 and plan.steps[1].arguments["mix"] == ["${data.dataset}"]
    assert plan.steps[3].arguments["spec"]["endpoint"] == "support"
    assert set(plan.inputs) == {"rows.txt"} and plan.effect is Effect.SERVES


def test_the_same_inputs_give_the_same_bytes_and_other_inputs_do_not(rows: Path) -> None:
    first = compiled()
    reordered = GOOD.replace("budget: {minutes: 15}\n", "") + "budget: {minutes: 15.0}\n"
    assert compiled(reordered).document() == first.document() == compiled().document()
    rows.write_text("a\nc\n")
    assert compiled().id != first.id


def test_a_plan_read_back_is_the_same_plan_and_an_altered_one_is_refused() -> None:
    plan = compiled()
    document = json.loads(plan.document())
    assert Plan.from_document(document) == plan
    document["plan"]["steps"][4]["arguments"]["endpoint"] = "payments"
    with pytest.raises(IntegrityError, match="changed after it was made"):
        Plan.from_document(document)


def test_a_plan_of_another_version_is_not_run_and_is_not_called_changed() -> None:
    document = json.loads(compiled().document())
    for gate in document["plan"]["gates"].values():
        del gate["cost"]  # as before a gate could hold a cost
    document["id"] = sha256_json(document["plan"])
    with pytest.raises(AskError, match="made by another version of Opswright"):
        Plan.from_document(document)
    assert Plan.recorded(document["plan"]).id == document["id"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("skill: learn", "skill: lern"), "line 8: unknown skill 'lern'.*Did you mean 'learn'"),
        (
            ("${model.checkpoint}", "${modle.checkpoint}"),
            "line 12: there is no step 'modle'.*Did you mean 'model'",
        ),
        (("${model.checkpoint}", "${model.chekpoint}"), "line 12: .*gives no 'chekpoint'.*'checkpoint'"),
        (('data: "${data.dataset}"', 'data: "${eval.report}"'), "line 10: learn cannot take .* as 'data'"),
        (('data: "${data.dataset}"', 'data: "${data.rows}"'), "line 10: learn cannot take"),
        (("gate: release", "gate: relase"), "line 12: there is no gate 'relase'.*'release'"),
        (("suite: tiny}, gate", "suite: other}, gate"), "line 12: gate 'release' judges suite 'tiny'"),
        (("rows.txt", "nothing.txt"), "line 6: no file or folder 'nothing.txt'"),
        (
            ("source: rows.txt", "sorce: rows.txt"),
            "line 6: .*unknown argument 'sorce'.*Did you mean 'source'",
        ),
        (("minutes: 15", "minuts: 15"), "line 2: .*Did you mean 'minutes'"),
        (("min: 0.8", "min: 80"), "line 4: gate 'release'.*less than or equal to 1"),
        (("goal: Ship it", "gaol: Ship it"), "line 1: unknown 'gaol'.*Did you mean 'goal'"),
        (("  live:", "  data:"), "line 13: 'data' is given twice"),
        (("goal: Ship it", "goal: [Ship"), "line 2: not valid YAML"),
        (("skill: serve,", "skill: serve, after: [eva],"), "line 13: there is no step 'eva'.*'eval'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_name(
    change: tuple[str, str], expected: str
) -> None:
    import re

    message = refusal(GOOD.replace(*change, 1))
    assert re.search(expected, message), message


def test_steps_that_wait_for_each_other_are_refused() -> None:
    text = GOOD.replace("skill: prepare,", "skill: prepare, after: [live],")
    assert "wait for each other" in refusal(text) and "line" in refusal(text)


def test_an_alias_cannot_blow_a_plan_up() -> None:
    bomb = "goal: &a x\nsteps:\n  data: {skill: prepare, with: {source: *a}}\n"
    assert "aliases are not supported" in refusal(bomb)


@pytest.mark.parametrize(
    "text", ["", "just words", "- a\n- b\n", "goal: x\nsteps: {}\n", "goal: x\nsteps: 3\n"]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    assert refusal(text).startswith("plan.yaml")


def test_a_missing_or_binary_plan_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="no plan file"):
        read_plan_file(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00goal")
    with pytest.raises(AskError, match="not UTF-8"):
        read_plan_file(tmp_path / "binary.yaml")


def test_an_input_beside_the_plan_file_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.yaml").write_text(GOOD)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan = compile_plan(read_plan_file(tmp_path / "plan.yaml"), REGISTRY)
    assert list(plan.inputs) == [(tmp_path / "rows.txt").as_posix()]


def test_a_plan_in_a_folder_of_the_project_is_the_same_plan_wherever_the_project_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set()
    for place in ("here", "there"):
        project = tmp_path / place
        (project / "plans").mkdir(parents=True)
        (project / "plans" / "ship.yaml").write_text(GOOD.replace("rows.txt", "../data/rows.txt"))
        (project / "data").mkdir()
        (project / "data" / "rows.txt").write_text("a\nb\n")
        monkeypatch.chdir(project)
        plan = compile_plan(read_plan_file(Path("plans/ship.yaml")), REGISTRY)
        assert list(plan.inputs) == ["data/rows.txt"]
        ids.add(plan.id)
    assert len(ids) == 1


def test_a_changed_input_is_told_by_path(rows: Path) -> None:
    plan = compiled()
    step: Any = plan.steps[0]
    assert plan.changed_inputs(step, Path.cwd()) == []
    rows.write_text("changed")
    assert "rows.txt changed" in plan.changed_inputs(step, Path.cwd())[0]
    rows.unlink()
    assert "missing" in plan.changed_inputs(step, Path.cwd())[0]
