"""A small workspace to talk about: files, suites, artifacts, endpoints and runs, written by the real parts.

Its artifacts hold almost nothing and its runs were not carried out: who reads sentences needs what is there,
not what it does.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....core.artifact_refs import (
    REF_TYPES,
    ArtifactRef,
    BundleRef,
    CheckpointRef,
    DatasetRef,
    DriftReportRef,
    EvalReportRef,
    GuardrailRef,
)
from ....core.compile import compile_plan
from ....core.plan import Plan
from ....core.plan_file import parse_plan
from ....core.principal import Principal
from ....core.registry import Registry
from ....core.settings import load_settings
from ....core.settings.planner import PlannerSettings
from ....core.workspace import Workspace
from ....record.ledger import Phase
from ....serving.releases import Change, EndpointState, Release, write_state
from ...policy import policy_of
from ...record import RunRecord

SUITE = """\
task: classify
samples: {path: items.jsonl}
scorers: [exact_match]
"""


class World:
    """The workspace, its artifacts by short names, and its runs."""

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        *,
        state: str = "rich",
        planner: PlannerSettings | None = None,
    ) -> None:
        self.folder, self.registry = folder, registry
        settings = load_settings(home=folder / ".opswright", actor="ada", mlflow={"mirror": "off"})
        self.workspace = Workspace(settings.model_copy(update={"planner": planner or settings.planner}))
        self.artifacts: dict[str, ArtifactRef] = {}
        self.runs: dict[str, str] = {}
        _project(folder)
        if state != "empty":
            self._artifacts()
            self._endpoints(("shop", "desk") if state == "rich" else ("shop",))
            self._runs()

    def _save(
        self, name: str, ref: type[ArtifactRef], parents: Sequence[str] = (), days: float = 0, **facts: Any
    ) -> None:
        store = self.workspace.artifacts
        with store.staging() as stage:
            (stage / "config.json").write_text(json.dumps({"name": name}))
            made = store.save(ref, stage, {"name": name, **facts}, [self.artifacts[one] for one in parents])
        self.artifacts[name] = made
        at = time.time() - days * 86_400 + len(self.artifacts)
        os.utime(store.folder(made) / "artifact.json", (at, at))

    def _artifacts(self) -> None:
        self._save("data-1", DatasetRef, days=9, task="classify")
        self._save("model-1", CheckpointRef, ["data-1"], days=8)
        self._save("engine-1", BundleRef, ["model-1"], days=7)
        self._save("rails", GuardrailRef, days=6)
        self._save("data-2", DatasetRef, days=4, task="classify")
        self._save("model-2", CheckpointRef, ["data-2", "model-1"], days=3)
        self._save("engine-2", BundleRef, ["model-2"], days=2)
        measured = {
            "metric": "exact_match",
            "n": 500,
            "errors": 0,
            "kind": "checkpoint",
            "suite_digest": "0" * 64,
            "slices": {},
            "latency_ms": {"p50": 1.0, "p95": 2.0},
            "size_bytes": None,
            "train_dataset": None,
            "baselines": {},
            "groups": [],
        }
        self._save(
            "report-1",
            EvalReportRef,
            ["model-1"],
            days=3,
            suite="tickets",
            model=str(self.artifacts["model-1"]),
            value=0.81,
            low=0.77,
            high=0.84,
            **measured,
        )
        self._save(
            "report-2",
            EvalReportRef,
            ["model-2"],
            days=1,
            suite="tickets",
            model=str(self.artifacts["model-2"]),
            value=0.88,
            low=0.85,
            high=0.91,
            **measured,
        )
        self._save("drift-1", DriftReportRef, days=1, endpoint="shop", alarm=True)

    def _endpoints(self, names: tuple[str, ...]) -> None:
        releases = {
            number: Release(
                id=f"v{number}-{self.artifacts[f'engine-{number}'].digest[:8]}",
                number=number,
                bundle=BundleRef(self.artifacts[f"engine-{number}"]),
                made="2026-01-01T00:00:00Z",
            )
            for number in (1, 2)
        }
        for name in names:
            canary = releases[2] if name == "shop" else None
            changes = [_change("deployed", releases[1], f"key-{name}-1", releases[1], None)]
            if canary is not None:
                changes.append(_change("canary", canary, f"key-{name}-2", releases[1], canary))
            write_state(
                self.workspace,
                EndpointState(
                    endpoint=name,
                    stable=releases[1],
                    canary=canary,
                    canary_percent=10 if canary else 0,
                    changes=tuple(changes),
                    known=tuple(releases.values()),
                ),
            )

    def _runs(self) -> None:
        a = self.artifacts
        self._run(
            "trained",
            "train a model",
            f"model: {{skill: finetune, with: {{data: '{a['data-2']}', base: tiny}}}}",
            {"model": {"checkpoint": str(a["model-2"])}},
            minutes=12.5,
        )
        self._run(
            "measured",
            "measure the model",
            f"eval: {{skill: evaluate, with: {{model: '{a['model-2']}', suite: suites/tickets.yaml}}}}",
            {"eval": {"report": str(a["report-2"])}},
            minutes=3.25,
        )
        self._run(
            "denied",
            "deploy to desk",
            _deploy(a["engine-2"], "endpoint: desk"),
            {},
            denied="not before the audit",
        )
        self._run(
            "deployed",
            "canary on shop",
            _deploy(a["engine-2"], "endpoint: shop, canary_percent: 10"),
            {"live": {"endpoint": "shop", "release": "v2"}},
            key="key-shop-2",
            approver="grace",
            minutes=0.5,
        )

    def _run(
        self,
        name: str,
        goal: str,
        steps: str,
        results: dict[str, Any],
        *,
        minutes: float = 0,
        denied: str = "",
        key: str = "",
        approver: str = "ada",
    ) -> None:
        text = parse_plan(f"goal: {goal}\nsteps:\n  {steps}\n", name)
        plan = compile_plan(text, self.registry)
        run = f"2026010{len(self.runs) + 1}-101500-abcde{len(self.runs)}"
        self.runs[name] = run
        record = RunRecord(self.workspace, run, _who("ada"), policy_of(self.workspace, self.registry))
        record.proposed(plan, source=goal, folder=self.folder, costs={}, findings=[])
        other = RunRecord(self.workspace, run, _who(approver), record.policy)
        if denied:
            other.answered(plan, Phase.DENIED, how="test", why=denied)
            end = {"status": "denied", "verdict": None, "message": f"denied: {denied}", "exit_code": 5}
            other.ended(plan, Phase.FAILED, end)
            return
        other.answered(plan, Phase.APPROVED, how="test")
        record.refresh()
        self._done(record, plan, results, minutes, key)

    def _done(self, record: RunRecord, plan: Plan, results: dict[str, Any], minutes: float, key: str) -> None:
        step = plan.steps[0]
        # the key of a change is the step's own, so that what is served is found in the record
        kept = record.begun(
            plan, step, dict(step.arguments), key or "call", {"minutes": minutes}, lambda: None
        )
        if key:
            self._rekey(key, kept)
        result = results[step.id]
        made = {name: value for name, value in result.items() if value.partition(":")[0] in REF_TYPES}
        spent = {"minutes": minutes, "usd": 0.0}
        record.ended_step(Phase.DONE, plan, step, spent, result=result, artifacts=made)
        record.ended(
            plan,
            Phase.DONE,
            {"status": "done", "verdict": None, "message": "every step is done", "exit_code": 0},
        )

    def _rekey(self, key: str, made: str) -> None:
        from ....serving.releases import endpoint_names, read_state

        for name in endpoint_names(self.workspace):
            state = read_state(self.workspace, name)
            changes = tuple(
                one.model_copy(update={"key": made}) if one.key == key else one for one in state.changes
            )
            write_state(self.workspace, state.model_copy(update={"changes": changes}))

    def spoken(self, text: str) -> str:
        """A sentence with the references of artifacts that it calls by the short names they have here."""
        for name, ref in self.artifacts.items():
            if "-" in name:
                text = re.sub(rf"(?<![\w/-]){name}(?![\w/-])", ref.short, text)
        return text

    def named(self, value: Any) -> Any:
        """A value of a plan with artifacts by the short names they have here."""
        short = {str(ref): name for name, ref in self.artifacts.items()}
        if isinstance(value, list | tuple):
            return [self.named(one) for one in value]
        return short.get(value, value) if isinstance(value, str) else value


def _deploy(bundle: str, more: str) -> str:
    return f"live: {{skill: deploy, with: {{bundle: '{bundle}', {more}}}, waive_gate: trial}}"


def _who(name: str) -> Principal:
    return Principal(name, ("releaser",), "test")


def _change(what: Any, release: Release, key: str, stable: Release, canary: Release | None) -> Change:
    return Change(
        at="2026-01-02T00:00:00.000Z",
        what=what,
        release=release.id,
        key=key,
        stable=stable.id,
        canary=canary.id if canary else None,
        canary_percent=10 if canary else 0,
    )


def _project(folder: Path) -> None:
    for name in ("data/tickets.csv", "data/reviews.csv", "raw/mails.jsonl", "new.csv", "data/old model.nemo"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "text,label\nhello,greet\n" if name.endswith("csv") else '{"text": "a", "label": "b"}\n'
        )
    (folder / "model.nemo").write_bytes(b"nemo")
    (folder / "rails").mkdir()
    (folder / "rails" / "config.yml").write_text("models: []\n")
    (folder / "suites").mkdir()
    (folder / "suites" / "items.jsonl").write_text('{"text": "a", "label": "b"}\n' * 3)
    for suite in ("tickets", "reviews"):
        (folder / "suites" / f"{suite}.yaml").write_text(SUITE)
