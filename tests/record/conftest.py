"""A scene: runs written into a ledger just as the agent writes them, with real plans and artifacts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import ArtifactRef, BundleRef, CheckpointRef, DatasetRef, EvalReportRef
from opswright.core.contract import Effect
from opswright.core.files import canonical_json, sha256_json, write_atomically
from opswright.core.gate import GateSpec
from opswright.core.plan import Budget, Plan, StepCall, bind
from opswright.core.principal import Principal
from opswright.core.workspace import Workspace
from opswright.record.ledger import GENESIS, Ledger, Phase, Record
from opswright.record.run_state import RunState
from opswright.serving.releases import EndpointState, Release, read_state, write_state

from .indexed import append_run

POLICY = "a" * 64  # the digest of the policy in force
RESERVED = {"minutes": 0.1, "gpu_hours": 0.0, "usd": 0.0, "tokens": 0.0}
SPEC = GateSpec(suite="clinc150", min=0.85)


def ship_plan(goal: str = "Ship an intent router", bar: float = 0.85, endpoint: str = "support") -> Plan:
    spec = SPEC.model_copy(update={"min": bar})
    calls: list[tuple[str, str, Effect, dict[str, Any]]] = [
        ("data", "curate", Effect.WRITES, {"source": "/data/raw", "near_duplicate_jaccard": 0.7}),
        ("model", "finetune", Effect.WRITES, {"data": "${data.dataset}", "base": "tiny", "goal": goal}),
        ("eval", "evaluate", Effect.WRITES, {"model": "${model.checkpoint}", "suite": "clinc150"}),
        (
            "eval.gate",
            "gate",
            Effect.READS,
            {"report": "${eval.report}", "spec": spec.model_dump(mode="json")},
        ),
        ("engine", "build-engine", Effect.WRITES, {"model": "${model.checkpoint}", "target": "onnx-int8"}),
        ("live", "deploy", Effect.SERVES, {"bundle": "${engine.bundle}", "endpoint": endpoint}),
    ]
    steps = tuple(StepCall(id=i, skill=s, effect=e, arguments=a) for i, s, e, a in calls)
    return Plan(goal=goal, budget=Budget(), gates={"release": spec}, inputs={}, steps=steps)


def serve_plan(skill: str, endpoint: str = "support") -> Plan:
    step = StepCall(id=skill, skill=skill, effect=Effect.SERVES, arguments={"endpoint": endpoint})
    return Plan(goal=f"{skill} {endpoint}", budget=Budget(), gates={}, inputs={}, steps=(step,))


class Endpoints:
    """Does to `desired.json` what deploy, promote and rollback do."""

    def take(
        self, workspace: Workspace, run: str, step: StepCall, result: dict[str, Any], asked: dict[str, Any]
    ) -> None:
        state = read_state(workspace, result["endpoint"])
        known = {one.id: one for one in (*state.known, *state.releases, *state.previous)}
        if step.skill == "deploy":
            number = state.last_number + 1
            release = Release(id=result["release"], number=number, bundle=asked["bundle"], made="2026-11-20")
            known[release.id] = release
            state = state.model_copy(update={"last_number": number})
            if result["route"] == "canary":
                update: dict[str, Any] = {"canary": release, "canary_percent": 10}
            else:
                update = self._stable(state, release)
        elif result.get("canary_now") == "canary":
            return
        elif result.get("canary_now") == "withdrawn" or result["release"] == getattr(state.stable, "id", ""):
            update = {"canary": None, "canary_percent": 0}
        else:
            update = self._stable(state, known[result["release"]])
        key = sha256_json([run, step.id])
        release = known[result["release"]]
        state = state.model_copy(update={**update, "known": tuple(known.values())})
        write_state(workspace, state.changed("deployed", release, key))

    def _stable(self, state: EndpointState, release: Release) -> dict[str, Any]:
        former = (state.stable, *state.previous) if state.stable is not None else state.previous
        kept = tuple(r for r in former if r.id != release.id)
        return {"stable": release, "canary": None, "canary_percent": 0, "previous": kept}


@dataclass
class Scene:
    """Writes runs into a workspace's ledger."""

    workspace: Workspace
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    keeps_costs: bool = False  # reserve, settle, keep idempotency keys, and name a policy
    plan = staticmethod(ship_plan)
    serve_plan = staticmethod(serve_plan)
    endpoints = Endpoints()

    def append(self, run: str | None, phase: Phase, **fields: Any) -> Record:
        actor = fields.pop("actor", "lise")
        fields = {"principal": Principal(actor, ("releaser",), "test"), **fields}
        if self.keeps_costs and phase in (Phase.PROPOSED, Phase.APPROVED, Phase.INTENT, Phase.REUSED):
            fields["detail"] = {**fields.get("detail", {}), "policy": POLICY}
        return Ledger.of(self.workspace).append(phase, run=run, **fields)

    def propose(self, run: str, plan: Plan, **more: Any) -> Plan:
        write_atomically(self.workspace.plans / f"{plan.id}.json", plan.document())
        detail = {
            "goal": plan.goal,
            "source": "plans/router.yaml",
            "gates": {name: spec.model_dump(mode="json") for name, spec in plan.gates.items()},
            "inputs": plan.inputs,
            "steps": [{"id": s.id, "skill": s.skill, "effect": str(s.effect)} for s in plan.steps],
        }
        if self.keeps_costs:
            detail |= {"waivers": {}, "costs": {step.id: RESERVED for step in plan.steps}}
        self.append(run, Phase.PROPOSED, plan=plan.id, effect=str(plan.effect), detail={**detail, **more})
        self.results[run] = {}
        return plan

    def stop(self, run: str, plan: Plan, message: str = "the trainer died") -> Record:
        """The end of a run that failed."""
        detail = {"status": "failed", "error": {"family": "BackendError", "message": message}, "exit_code": 1}
        return self.append(run, Phase.FAILED, plan=plan.id, detail=detail)

    def approve(
        self, run: str, plan: Plan, phase: Phase = Phase.APPROVED, *, by: str = "ines", role: str = "releaser"
    ) -> Record:
        principal = Principal(by, (role,), "test")
        detail = {"how": "typed on the terminal"}
        return self.append(run, phase, plan=plan.id, principal=principal, detail=detail)

    def _call(self, plan: Plan, step: StepCall) -> dict[str, Any]:
        return {"step": step.id, "skill": step.skill, "effect": str(step.effect), "plan": plan.id}

    def begin(
        self, run: str, plan: Plan, step: StepCall, *, key: str | None = None, **amounts: float
    ) -> Record:
        """Reserve and begin; what an attempt before it reserved and a crash left open is settled first."""
        call = self._call(plan, step)
        request = bind(step.arguments, self.results[run])
        if not self.keeps_costs:
            return self.append(run, Phase.INTENT, **call, request=request, detail={"attempt": 1})
        state = RunState.of(run, (r for r in Ledger.of(self.workspace).records() if r.run == run))
        if (before := state.steps.get(step.id)) is not None and before.reserved:
            self.append(run, Phase.SETTLED, **call, detail={"spent": before.reserved})
        self.append(run, Phase.RESERVED, **call, detail={"reserved": {**RESERVED, **amounts}})
        detail = {"attempt": 1, "idempotency_key": key or sha256_json([run, step.id]), "pid": 1}
        return self.append(run, Phase.INTENT, **call, request=request, detail=detail)

    def settle(self, run: str, plan: Plan, step: StepCall, **amounts: float) -> Record:
        detail = {"spent": {**RESERVED, **amounts}}
        return self.append(run, Phase.SETTLED, **self._call(plan, step), detail=detail)

    def finish(self, run: str, plan: Plan, step: StepCall, phase: Phase = Phase.DONE, **more: Any) -> Record:
        result, artifacts, metrics = self.make(run, step, **more)
        self.results[run][step.id] = result
        detail = {"seconds": 1.5, "metrics": metrics}
        if self.keeps_costs:
            self.settle(run, plan, step)
        record = self.append(
            run, phase, **self._call(plan, step), result=result, artifacts=artifacts, detail=detail
        )
        if step.effect is Effect.SERVES:
            self.endpoints.take(self.workspace, run, step, result, bind(step.arguments, self.results[run]))
        return record

    def fail(self, run: str, plan: Plan, step: StepCall, message: str = "the trainer died") -> Record:
        detail = {"error": {"family": "BackendError", "message": message}, "exit_code": 1, "seconds": 0.5}
        if self.keeps_costs:
            self.settle(run, plan, step)
        return self.append(run, Phase.FAILED, **self._call(plan, step), detail=detail)

    def end(
        self, run: str, plan: Plan, status: str = "done", verdict: str | None = None, code: int = 0
    ) -> Record:
        phase = Phase.DONE if status == "done" else Phase.FAILED
        message = f"the gate says {verdict}" if verdict else "every step is done"
        detail = {"status": status, "verdict": verdict, "message": message, "exit_code": code, "seconds": 9.5}
        return self.append(run, phase, plan=plan.id, detail=detail)

    def ship(self, run: str, plan: Plan | None = None, decision: str = "GO", route: str = "stable") -> Plan:
        """A whole run: to its end, or to the gate that stops it."""
        judged = decision if any(s.skill == "gate" for s in (plan or ship_plan()).steps) else None
        plan = self.propose(run, plan or ship_plan())
        self.approve(run, plan)
        for step in plan.steps:
            self.begin(run, plan, step)
            self.finish(run, plan, step, decision=decision, route=route)
            if step.skill == "gate" and decision != "GO":
                break
        self.end(run, plan, verdict=judged, code=0 if decision == "GO" else 3)
        return plan

    def serve(self, run: str, skill: str, release: str, decision: str = "GO") -> Plan:
        """A run of promote or rollback; `release` is what users get after it."""
        plan = self.propose(run, serve_plan(skill))
        self.approve(run, plan)
        step = plan.steps[0]
        self.begin(run, plan, step)
        phase = Phase.ROLLED_BACK if skill == "rollback" else Phase.DONE
        self.finish(run, plan, step, phase=phase, release=release, route="stable", decision=decision)
        code = {"GO": 0, "NO_GO": 3, "INCONCLUSIVE": 4}[decision]
        self.end(run, plan, verdict=decision if skill == "promote" else None, code=code)
        return plan

    def make(
        self, run: str, step: StepCall, *, decision: str = "GO", route: str = "stable", release: str = ""
    ) -> tuple[dict[str, Any], dict[str, str], dict[str, float]]:
        """What a skill would give: result, artifacts, metrics."""
        results = self.results[run]
        if step.skill == "curate":
            files = {"train.jsonl": f'{{"goal": "{run}"}}\n', "report.json": '{"rows": 40}'}
            dataset = self.save(DatasetRef, files, {"rows": 40})
            return {"dataset": dataset, "rows": 40, "dropped": {"duplicate": 3}}, {"dataset": dataset}, {}
        if step.skill == "finetune":
            lines = [{"step": n, "epoch": 0, "loss": 5.0 / (n + 1), "lr": 0.002} for n in range(20)]
            curve = "".join(json.dumps(line) + "\n" for line in lines)
            files = {"model.safetensors": "w" * 64, "recipe.yaml": "seed: 1111\n", "training.jsonl": curve}
            parents = [DatasetRef(results["data"]["dataset"])]
            checkpoint = self.save(CheckpointRef, files, {"base": "tiny", "final_loss": 0.25}, parents)
            return {"checkpoint": checkpoint, "final_loss": 0.25}, {"checkpoint": checkpoint}, {"loss": 0.25}
        if step.skill == "evaluate":
            files = {"report.json": '{"value": 0.88}', "items.jsonl": '{"id": "1"}\n'}
            model = bind(step.arguments, results)["model"]
            report = self.save(EvalReportRef, files, {"model": model, "value": 0.88}, [CheckpointRef(model)])
            return (
                {"report": report, "exact_match": 0.88, "n": 400},
                {"report": report},
                {"exact_match": 0.88},
            )
        if step.skill == "gate":
            rows = [{"name": "exact_match", "decision": decision, "got": 0.88, "bar": 0.85, "n": 400}]
            return {"verdict": {"decision": decision, "rows": rows}}, {}, {}
        if step.skill == "build-engine":
            files = {"engine/model.onnx": f"onnx {run}", "manifest.json": '{"target": "onnx-int8"}'}
            bundle = self.save(
                BundleRef, files, {"target": "onnx-int8"}, [CheckpointRef(results["model"]["checkpoint"])]
            )
            return {"bundle": bundle, "agreement": 0.998}, {"bundle": bundle}, {}
        endpoint = step.arguments["endpoint"]
        result: dict[str, Any] = {"endpoint": endpoint, "release": release or f"r-{run}", "route": route}
        if step.skill == "deploy":
            result["canary_percent"] = 10 if route == "canary" else 100
        if step.skill == "rollback":
            result["rolled_back"] = True
        if step.skill == "promote":
            rows = [{"name": "answers", "decision": decision}]
            now = {"GO": "stable", "NO_GO": "withdrawn", "INCONCLUSIVE": "canary"}[decision]
            result |= {"canary_now": now, "verdict": {"decision": decision, "rows": rows}}
        return result, {}, {}

    def save(
        self,
        kind: type[ArtifactRef],
        files: Mapping[str, str],
        facts: Mapping[str, Any],
        parents: Sequence[ArtifactRef] = (),
    ) -> str:
        with self.workspace.artifacts.staging() as folder:
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            return str(self.workspace.artifacts.save(kind, folder, facts, parents))


@pytest.fixture
def scene(workspace: Workspace) -> Scene:
    """Runs in as few records as tests of listing and showing them need."""
    return Scene(workspace)


@pytest.fixture
def full_scene(workspace: Workspace) -> Scene:
    """Runs in every record that the agent writes."""
    return Scene(workspace, keeps_costs=True)


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Changes records (drops those for which `change` says "drop") and computes numbers and hashes anew.

    It is what someone with full control of the folder can do: the chain is in order afterwards. With
    `digests=False` the digests of requests and results stay what they were.
    """

    def apply(workspace: Workspace, change: Callable[[dict[str, Any]], object], digests: bool = True) -> None:
        prev, seq = GENESIS, 0
        for segment in Ledger.of(workspace).segments():
            out = []
            for line in segment.read_bytes().splitlines():
                body = json.loads(line)
                if change(body) == "drop":
                    continue
                seq += 1
                detail = body["detail"]
                for name in ("request", "result") if digests else ():
                    body[name] = sha256_json(detail[name]) if name in detail else None
                body |= {"seq": seq, "prev": prev}
                del body["hash"]
                prev = sha256_json(body)
                out.append(canonical_json({**body, "hash": prev}) + b"\n")
            segment.write_bytes(b"".join(out))
        assert Ledger.of(workspace).verify() == []

    return apply


@pytest.fixture(scope="session")
def fresh_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An MLflow database without runs, made once (seconds) and copied by tests."""
    from opswright.record.mirror.tracking import import_mlflow

    import_mlflow()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    yield path


@pytest.fixture
def view(workspace: Workspace, fresh_mlflow: Path) -> Workspace:
    """The workspace with an MLflow database that needs no seconds to be made."""
    shutil.copy(fresh_mlflow, workspace.root / "mlflow.db")
    return workspace


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "ledger")
    for name in ("one", "two", "three"):
        append_run(made, name)
    return made


@pytest.fixture
def shipped(workspace: Workspace, scene: Any) -> Workspace:
    scene.ship("one")
    scene.ship("two", scene.plan("Another", 0.9), decision="NO_GO")
    return workspace
