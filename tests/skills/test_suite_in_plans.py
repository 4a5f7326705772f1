"""A suite of the project in a plan: its file and data enter the plan's id, its code runs only if named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opswright.core.check_compiled import check_compiled
from opswright.core.compile import compile_plan
from opswright.core.errors import AskError
from opswright.core.input_digest import sha256_input
from opswright.core.machine import Machine
from opswright.core.plan import Plan
from opswright.core.plan_file import read_plan_file
from opswright.core.workspace import Workspace
from opswright.evals.suites import load_suite
from opswright.skills import load_registry
from opswright.skills.evaluate import EvaluateRequest, evaluate

PLAN = """\
goal: Judge
gates:
  release: {suite: GATE, min: 0.5}
steps:
  golden: {skill: golden, with: {suite: suites/tone.yaml}}
  eval: {skill: evaluate, with: {model: "http://127.0.0.1:1", suite: suites/tone.yaml}, gate: release}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "suites").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "golden.csv").write_text("text,label\nhello,warm\ngo away,cold\n")
    (folder / "data" / "shots.jsonl").write_text('{"text": "hi", "target": "warm"}\n')
    (folder / "suites" / "tone.yaml").write_text(
        "samples: {file: ../data/golden.csv}\nprompt: {few_shot: {file: ../data/shots.jsonl, n: 1}}\n"
    )
    return folder


def plan(project: Path, gate: str = "tone", text: str = PLAN) -> Plan:
    path = project / "plan.yaml"
    path.write_text(text.replace("GATE", gate))
    return compile_plan(read_plan_file(path), load_registry())


@pytest.mark.parametrize("file", ["suites/tone.yaml", "data/golden.csv", "data/shots.jsonl"])
def test_the_suites_file_and_all_that_it_rests_on_enter_the_plans_id(project: Path, file: str) -> None:
    first = plan(project)
    assert plan(project).id == first.id and len(first.inputs) == 1
    with (project / file).open("a") as handle:
        handle.write("# more\n" if file.endswith("yaml") else "x,warm\n" if file.endswith("csv") else "\n")
    assert plan(project).id != first.id
    changed = first.changed_inputs(first.steps[0], project)
    assert len(changed) == 1 and "tone.yaml changed since the plan was made" in changed[0]
    (project / file).unlink()
    assert "missing" in first.changed_inputs(first.steps[0], project)[0]


def test_a_suite_whose_data_is_missing_makes_no_plan(project: Path) -> None:
    (project / "data" / "golden.csv").unlink()
    with pytest.raises(AskError, match=r"tone.yaml names a file that is not there: .*golden.csv"):
        plan(project)


@pytest.mark.parametrize("gate", ["tone", "suites/tone.yaml"])
def test_a_gate_judges_the_file_its_step_runs_by_name_or_by_path(
    project: Path, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = plan(project, gate)
    judged = compiled.step("eval.gate")
    assert judged is not None and judged.inputs == tuple(compiled.inputs)
    assert judged.arguments["spec"]["suite"] == compiled.gates["release"].model_dump(mode="json")["suite"]
    check_compiled(compiled, load_registry())  # it is what compiling gives, wherever that is done
    monkeypatch.chdir(project)
    assert plan(project, gate).inputs == {"suites/tone.yaml": sha256_input(Path("suites/tone.yaml"))}
    with pytest.raises(AskError, match=r"gate 'release' judges suite 'other', step 'eval' runs"):
        plan(project, "other")


def test_a_yaml_input_that_names_no_file_has_its_own_digest(tmp_path: Path) -> None:
    from opswright.core.files import sha256_file

    (tmp_path / "a.yaml").write_text("x: 1\n")
    (tmp_path / "bad.yaml").write_text("file: [\n")
    for name in ("a.yaml", "bad.yaml"):
        assert sha256_input(tmp_path / name) == sha256_file(tmp_path / name)


def test_code_runs_only_where_the_plan_names_its_folder_and_that_enters_the_id(
    project: Path, workspace: Workspace
) -> None:
    (project / "suites" / "own.py").write_text(
        "from opswright.evals.scorers import scorer\n\n\n@scorer(binary=False)\ndef warmth(sample, answer):\n"
        "    return min(1, len(answer) / 10)\n"
    )
    suite = project / "suites" / "tone.yaml"
    suite.write_text("samples: {file: ../data/golden.csv}\nscorers: [{name: warmth, file: own.py}]\n")

    def levels(**fields: Any) -> list[tuple[str, str]]:
        request = EvaluateRequest.model_validate(
            {"model": "http://127.0.0.1:1", "suite": str(suite), **fields}
        )
        assert evaluate.preflight is not None
        found = evaluate.preflight(request, Machine.here(project), workspace)
        return [(one.level, one.message) for one in found]

    refused = levels()
    assert refused[-1][0] == "stop" and "runs only when its folder is trusted" in refused[-1][1]
    trusted = levels(trust=str(project / "suites"))
    assert [level for level, _ in trusted] == ["warn", "ok"] and "own.py" in trusted[0][1]
    trusting = PLAN.replace("suite: suites/tone.yaml}, gate", "suite: suites/tone.yaml, trust: suites}, gate")
    first = plan(project, text=trusting)
    assert any(name.endswith("/suites") for name in first.inputs)
    (project / "suites" / "own.py").write_text("changed = 1\n")
    assert plan(project, text=trusting).id != first.id


def test_looking_at_a_plan_runs_no_code_of_the_project(project: Path, workspace: Workspace) -> None:
    touched = project / "touched"
    (project / "suites" / "own.py").write_text(f"open({str(touched)!r}, 'w').close()\n")
    suite = project / "suites" / "tone.yaml"
    suite.write_text("samples: {file: ../data/golden.csv}\nscorers: [{name: warmth, file: own.py}]\n")
    fields = {"model": "http://127.0.0.1:1", "suite": str(suite), "trust": str(project / "suites")}
    request, machine = EvaluateRequest.model_validate(fields), Machine.here(project)
    assert evaluate.preflight is not None and evaluate.estimate is not None
    assert list(evaluate.preflight(request, machine, workspace))
    evaluate.estimate(request, machine, workspace)
    plan(
        project,
        text=PLAN.replace("suite: suites/tone.yaml}, gate", "suite: suites/tone.yaml, trust: suites}, gate"),
    )
    assert not touched.exists()


REQUIRED = """\
goal: Judge
gates:
  release: {suite: suites/tone.yaml, min: 0.5, suites: {safety: {min: 0.5MEANT}}}
steps:
  eval: {skill: evaluate, with: {model: "http://127.0.0.1:1", suite: suites/tone.yaml}, gate: release}
STEPS"""
STEP = '  NAME: {skill: evaluate, with: {model: "http://127.0.0.1:1", suite: FILE}}\n'


def required(project: Path, meant: str = "", **steps: str) -> Plan:
    """A plan that requires the suite `safety`, and evaluates some files."""
    for file in (*steps.values(), "suites/safety.yaml"):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(f"samples: [{{id: a, text: hi, target: ok}}]\n# {file}\n")
    more = "".join(STEP.replace("NAME", name).replace("FILE", file) for name, file in steps.items())
    return plan(project, text=REQUIRED.replace("MEANT", meant).replace("STEPS", more))


def meant_by(compiled: Plan) -> tuple[Any, tuple[str, ...]]:
    judged = compiled.step("eval.gate")
    assert judged is not None
    return judged.arguments["spec"]["suites"]["safety"]["suite"], judged.inputs


def test_a_required_suite_is_the_file_that_a_step_evaluates_and_its_digest_is_the_plans(
    project: Path,
) -> None:
    file, inputs = meant_by(compiled := required(project, safe="suites/safety.yaml"))
    assert Path(file).resolve() == project / "suites" / "safety.yaml" and file in inputs
    check_compiled(compiled, load_registry())
    (project / "suites" / "safety.yaml").write_text("samples: [{id: a, text: hi, target: bye}]\n")
    gate = compiled.step("eval.gate")
    assert gate is not None
    assert "changed since" in compiled.changed_inputs(gate, project)[0]


def test_a_required_suite_is_the_file_that_the_gate_names_though_another_is_evaluated(project: Path) -> None:
    compiled = required(project, ", suite: suites/safety.yaml", easy="easy/safety.yaml")
    file, inputs = meant_by(compiled)
    assert Path(file).resolve() == project / "suites" / "safety.yaml" and file in inputs
    check_compiled(compiled, load_registry())
    with pytest.raises(AskError, match=r"no file or folder 'gone/safety.yaml'"):
        required(project, ", suite: gone/safety.yaml")


def test_two_files_of_a_required_name_are_refused_unless_one_is_named(project: Path) -> None:
    with pytest.raises(AskError, match=r"line 3: steps evaluate 2 suites called 'safety'"):
        required(project, safe="suites/safety.yaml", easy="easy/safety.yaml")
    assert meant_by(required(project))[0] is None


def test_no_skill_has_a_suite_that_nobody_named() -> None:
    for skill in load_registry():
        for name, field in skill.request.model_fields.items():
            if "suite" in name:
                assert field.is_required() or field.default is None, f"{skill.name}.{name}"


def test_the_example_names_its_own_suite() -> None:
    from opswright.ui.demo import example_domains, example_suite

    suite = load_suite(example_suite())
    sizes = {name: len(example_domains(name)) for name in suite.groups}
    assert sizes == {"old_domains": 8, "new_domains": 2} and len(suite.items) == 4500
