"""A plan as an Argo Workflow and a Kubeflow pipeline: valid by schema, and run pod by pod as processes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from opswright.agents.stopping import request_stop
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError
from opswright.core.plan import Budget, Plan, StepCall
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.index import LedgerIndex
from opswright.record.ledger import Ledger
from opswright.ui.cli import run
from opswright.ui.pipelines.pod_command import PodPlace, check_place, encoded

AGENT_TESTS = Path(__file__).parents[2] / "agents" / "conftest.py"
# What an image has as `opswright`: the real command line, with a few small skills.
PROGRAM = f"""#!{sys.executable}
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("small_skills", {str(AGENT_TESTS)!r})
small = importlib.util.module_from_spec(spec)
sys.modules["small_skills"] = small
spec.loader.exec_module(small)
from opswright.core.artifact_refs import CheckpointRef
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.ui.cli import run
class LingerRequest(Request):
    model: CheckpointRef
class LingerResult(Result):
    model: CheckpointRef
@skill(effect=Effect.WRITES, summary="Wait for a file, and write a line once.", reusable=False)
def linger(request: LingerRequest, ctx: StepContext) -> LingerResult:
    Path("lingers").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    with Path("lingered.txt").open("a") as file:
        file.write(ctx.idempotency_key + "\\n")
    return LingerResult(model=request.model)
sys.exit(run(sys.argv[1:], Registry([*small.SKILLS, linger])))
"""
PLAN = """\
goal: "Put a {{workflow.name}} model $(touch hacked) on the 'board'"
steps:
  data: {skill: collect, with: {source: lines.txt}}
  Big_Model: {skill: train, with: {data: "${data.dataset}"}}
  wait: {skill: linger, with: {model: "${Big_Model.checkpoint}"}}
  verdict: {skill: judge, with: {model: "${Big_Model.checkpoint}", decision: GO}}
  live: {skill: publish, with: {model: "${Big_Model.checkpoint}", board: board.txt}}
"""


class Cluster:
    """Runs pods of one project folder as processes, in the place of what a pipeline system puts in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_folder = folder.parent / "bin"
        bin_folder.mkdir()
        (bin_folder / "opswright").write_text(PROGRAM)
        (bin_folder / "opswright").chmod(0o755)
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        self.plan = ""
        self.env = {**os.environ, "PATH": path, "OPSWRIGHT_MLFLOW__MIRROR": "off"}

    def opswright(self, *words: str, code: int = 0) -> str:
        ended = subprocess.run(
            ["opswright", *words], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=100
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout

    def start(self, words: list[str], run: str, approve: str) -> subprocess.Popen[str]:
        given = {
            "{{workflow.name}}": run,
            "{{$.pipeline_job_uuid}}": run,
            "{{workflow.parameters.approve}}": approve,
            "{{$.inputs.parameters['approve']}}": approve,
            "{{workflow.parameters.plan}}": self.plan,
        }
        put_in = [given.get(word, word) for word in words]
        return subprocess.Popen(
            put_in,
            cwd="/",
            env=self.env,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def pod(self, words: list[str], run: str, approve: str) -> tuple[int, dict[str, Any]]:
        process = self.start(words, run, approve)
        out, err = process.communicate(timeout=100)
        assert out, err
        return process.returncode, json.loads(out)

    def export(self, kind: str, *words: str) -> list[dict[str, Any]]:
        place = ["--image", "img:1", "--claim", "models", "--mount", str(self.folder), *words]
        text = self.opswright("export", kind, "plan.json", *place)
        assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        assert "$(" not in text  # where Kubernetes would put a variable
        documents = list(yaml.safe_load_all(text))
        if kind == "argo":
            given = documents[0]["spec"]["arguments"]["parameters"]
            self.plan = next(one["value"] for one in given if one["name"] == "plan")
        return documents


def argo_pods(workflow: Mapping[str, Any]) -> list[list[str]]:
    """The commands of the pods, in the order of the tasks."""
    templates = {one["name"]: one for one in workflow["spec"]["templates"]}
    tasks = templates["plan"]["dag"]["tasks"]
    assert [task.get("dependencies", []) for task in tasks[1:]] == [[task["name"]] for task in tasks[:-1]]
    containers = [templates[task["template"]]["container"] for task in tasks]
    return [one["command"] + one["args"] for one in containers]


def kubeflow_pods(pipeline: Mapping[str, Any]) -> list[list[str]]:
    """The commands of the pods, in the order of the tasks."""
    executors = pipeline["deploymentSpec"]["executors"]
    labels = [f"exec-{name}" for name in pipeline["root"]["dag"]["tasks"]]
    return [executors[one]["container"]["command"] + executors[one]["container"]["args"] for one in labels]


@pytest.fixture
def cluster(tmp_path: Path, small_skills: ModuleType) -> Cluster:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "lines.txt").write_text("one\ntwo\nthree\n")
    (folder / "plan.yaml").write_text(PLAN)
    made = Cluster(folder)
    made.opswright("plan", "plan.yaml", "-o", "plan.json")
    return made


@pytest.fixture
def plan_id(cluster: Cluster) -> str:
    found: str = json.loads((cluster.folder / "plan.json").read_text())["id"]
    return found


def records(cluster: Cluster, run: str) -> list[tuple[str | None, str]]:
    workspace = Workspace(load_settings(home=cluster.folder / ".opswright"))
    assert LedgerIndex.of(workspace).run_state(run) is not None
    return [(one.step, str(one.phase)) for one in Ledger.of(workspace).records() if one.run == run]


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["argo", "kubeflow"])
def test_pod_by_pod_a_plan_is_carried_out_once_though_one_is_killed(
    kind: str, cluster: Cluster, plan_id: str
) -> None:
    made = cluster.export(kind)[0]
    data, model, wait, verdict, live = argo_pods(made) if kind == "argo" else kubeflow_pods(made)
    run = "opswright-1a2b3c"
    for pod in (data, data, model):  # the first is started twice, as after a lost node
        code, document = cluster.pod(pod, run, plan_id[:32])
        assert (code, document["status"], document["outcome"]) == (0, "paused", "done")
    killed = cluster.start(wait, run, plan_id[:32])
    deadline = time.monotonic() + 60
    while not (cluster.folder / "lingers").exists():
        assert time.monotonic() < deadline and killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (cluster.folder / "go").touch()
    assert cluster.pod(wait, run, plan_id[:32])[0] == 0
    assert len((cluster.folder / "lingered.txt").read_text().splitlines()) == 1
    assert not (cluster.folder / "board.txt").exists()
    assert cluster.pod(verdict, run, plan_id[:32])[0] == 0
    code, document = cluster.pod(live, run, plan_id[:32])
    assert (code, document["status"]) == (0, "done")
    assert len((cluster.folder / "board.txt").read_text().splitlines()) == 1
    assert cluster.pod(data, run, plan_id[:32])[1]["status"] == "done"  # over: nothing is begun again
    told = records(cluster, run)
    assert [step for step, phase in told if phase == "done" and step] == [
        "data",
        "Big_Model",
        "wait",
        "verdict",
        "live",
    ]
    assert [phase for _, phase in told].count("approved") == 1
    assert told.count(("wait", "intent")) == 2 and told[-1] == (None, "done")
    cluster.opswright("audit", "verify")
    assert not list(cluster.folder.rglob("hacked"))


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_later_pod_that_comes_first_keeps_the_plans_order(cluster: Cluster, plan_id: str) -> None:
    pods = argo_pods(cluster.export("argo")[0])
    (cluster.folder / "go").touch()
    assert cluster.pod(pods[2], "late", plan_id[:32])[0] == 0
    done = [step for step, phase in records(cluster, "late") if phase == "done"]
    assert done == ["data", "Big_Model", "wait"]


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_pod_ends_with_the_code_of_what_refused_it(cluster: Cluster, plan_id: str) -> None:
    pods = argo_pods(cluster.export("argo")[0])
    assert cluster.pod(pods[0], "no-consent", "0" * 32)[0] == 5  # consent to another plan
    assert cluster.pod(pods[0], "no-consent", "")[0] == 2
    assert cluster.pod(pods[0], "taken-back", plan_id[:32])[0] == 0
    cluster.opswright("approvals", "deny", "taken-back", "--why", "not on a Friday")
    code, document = cluster.pod(pods[1], "taken-back", plan_id[:32])
    assert (code, document["outcome"]) == (8, "denied")  # the workflow does not consent once more
    assert [phase for _, phase in records(cluster, "taken-back")].count("approved") == 1
    (cluster.folder / "plan.yaml").write_text(PLAN.replace("decision: GO", "decision: NO_GO"))
    cluster.opswright("plan", "plan.yaml", "-o", "plan.json")
    other = json.loads((cluster.folder / "plan.json").read_text())["id"]
    (cluster.folder / "go").touch()
    others = argo_pods(cluster.export("argo")[0])
    assert cluster.pod(others[0], "taken-back", other[:32])[0] == 7  # the name is another plan's
    assert cluster.pod(others[3], "refused", other[:32])[0] == 3
    assert cluster.pod(others[4], "refused", other[:32])[0] == 3  # and stays so
    assert not (cluster.folder / "board.txt").exists()
    (cluster.folder / "lines.txt").write_text("other\n")
    assert cluster.pod(others[0], "changed", other[:32])[0] == 7


@pytest.mark.parametrize("kind", ["argo", "kubeflow"])
def test_an_export_does_not_write_over_the_plan_that_it_is_of(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text("goal: Halt\nsteps:\n  a: {skill: halt}\n")
    Path("link.yaml").symlink_to("plan.yaml")
    for output in ("plan.yaml", "./plan.yaml", "link.yaml"):
        words = ["export", kind, "plan.yaml", "--image", "i", "--claim", "c", "-o", output]
        assert run(["--home", "ws", *words], Registry([halt])) == 2
        assert "it is the plan's file" in capsys.readouterr().err
    assert Path("plan.yaml").read_text().startswith("goal: Halt")


def test_a_workflow_is_valid_by_argos_published_models(cluster: Cluster, plan_id: str) -> None:
    from hera.workflows.models import Workflow

    (workflow,) = cluster.export("argo", "--service-account", "opswright", "--identity-audience", "opswright")
    read = Workflow.model_validate(workflow)
    again = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert json.loads(json.dumps(again)) == workflow  # an unknown field would be left out
    assert workflow["metadata"]["annotations"]["opswright/plan"] == plan_id
    assert plan_id not in json.dumps(workflow["spec"]["templates"])  # who submits it consents, not the file
    approve, plan = workflow["spec"]["arguments"]["parameters"]
    assert approve == {"name": "approve"} and json.loads(base64.b64decode(plan["value"]))["id"] == plan_id
    assert len(workflow["spec"]["templates"]) == 6


def test_a_pipeline_is_valid_by_kubeflows_protobuf(cluster: Cluster) -> None:
    from google.protobuf.json_format import ParseDict
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig, PipelineSpec, PlatformSpec

    pipeline, platform = cluster.export("kubeflow")
    read = ParseDict(pipeline, PipelineSpec())
    ParseDict(pipeline["deploymentSpec"], PipelineDeploymentConfig())
    ParseDict(platform, PlatformSpec())
    tasks = read.root.dag.tasks
    assert len(tasks) == 5 and all(not task.caching_options.enable_cache for task in tasks.values())
    labels = {read.components[task.component_ref.name].executor_label for task in tasks.values()}
    assert labels == set(pipeline["deploymentSpec"]["executors"])
    assert labels == set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    assert list(read.root.input_definitions.parameters) == ["approve"]


def test_what_was_never_run_on_a_cluster_says_so(cluster: Cluster) -> None:
    words = ["export", "argo", "plan.json", "--image", "i", "--claim", "c"]
    assert cluster.opswright(*words).startswith("# Checked offline by its published schema. Never run")


@pytest.mark.parametrize(
    "place",
    [
        PodPlace("i", "c", "relative"),
        PodPlace("i", "c", "/"),
        PodPlace("i", "c", "/a/../.."),
        PodPlace("i", "c", folder="../other"),
        PodPlace("i", "{{workflow.name}}"),
        PodPlace("", "c"),
        PodPlace("i", "c", "/project/$(HOME)"),
        PodPlace("i", "c", folder="a b"),
    ],
)
def test_a_place_that_pods_could_not_use_is_refused(place: PodPlace) -> None:
    plan = Plan(goal="x", budget=Budget(), gates={}, inputs={}, steps=())
    with pytest.raises(AskError):
        check_place(plan, place)


@pytest.mark.parametrize("path", ["../far.txt", "/far.txt", "a/../../far.txt"])
def test_inputs_that_would_not_be_on_the_volume_are_refused(path: str) -> None:
    plan = Plan(goal="x", budget=Budget(), gates={}, inputs={path: "0" * 64}, steps=())
    with pytest.raises(AskError, match="outside the plan's folder"):
        check_place(plan, PodPlace("i", "c"))


def test_a_plan_that_is_too_large_for_a_pods_command_is_refused() -> None:
    step = StepCall(id="a", skill="look", effect=Effect.READS, arguments={"text": "x" * 100_000})
    plan = Plan(goal="x", budget=Budget(), gates={}, inputs={}, steps=(step,))
    with pytest.raises(AskError, match="Split the plan"):
        encoded(plan, PodPlace("i", "c"))


class HaltRequest(Request):
    pass


class HaltResult(Result):
    pass


@skill(effect=Effect.WRITES, summary="Be stopped by somebody, once.", reusable=False)
def halt(request: HaltRequest, ctx: StepContext) -> HaltResult:
    tries = Path("tries.txt")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if tries.read_text() == "x":
        request_stop(Workspace(load_settings(home=Path("ws"))), ctx.run_id, "ada")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            ctx.check()
            time.sleep(0.02)
    return HaltResult()


def test_the_next_try_of_a_pod_does_not_undo_a_persons_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    Path("plan.yaml").write_text("goal: Halt\nsteps:\n  a: {skill: halt}\n")

    def opswright(*words: str) -> tuple[int, dict[str, Any]]:
        code = run(["--home", "ws", *words, "--json"], Registry([halt]))
        return code, json.loads(capsys.readouterr().out)

    plan = opswright("plan", "plan.yaml", "-o", "plan.json")[1]["id"]
    pod = ["apply", "plan.json", "--approve", plan, "--run", "wf-1", "--until", "a"]
    assert opswright(*pod)[0] == 130
    code, document = opswright(*pod)
    assert code == 130 and "ada stopped it" in document["message"]
    assert Path("tries.txt").read_text() == "x"
    assert opswright("resume", "wf-1")[0] == 0  # a person goes on with it
    assert opswright(*pod)[0] == 0


@pytest.mark.parametrize(
    ("code", "again"), [(130, True), (137, True), (143, True), (1, False), (3, False), (8, False)]
)
def test_argo_tries_again_what_was_taken_away_and_no_answer(cluster: Cluster, code: int, again: bool) -> None:
    (workflow,) = cluster.export("argo")
    expressions = {one["retryStrategy"]["expression"] for one in workflow["spec"]["templates"][1:]}
    (expression,) = expressions
    listed = json.loads(expression.partition(" in ")[2])
    assert (code in listed) == again


def test_a_workflow_of_two_hundred_steps_is_one_that_kubernetes_takes(cluster: Cluster) -> None:
    steps = "\n".join(f"  s{n}: {{skill: collect, with: {{source: lines.txt}}}}" for n in range(200))
    (cluster.folder / "plan.yaml").write_text(f"goal: Many\nsteps:\n{steps}\n")
    cluster.opswright("plan", "plan.yaml", "-o", "plan.json")
    (workflow,) = cluster.export("argo")
    assert len(json.dumps(workflow)) < 1_000_000  # etcd takes 1.5 MiB
    words = ["export", "kubeflow", "plan.json", "--image", "i", "--claim", "c"]
    cluster.opswright(*words, code=2)
