"""Weights kept by a suite's score: the best is kept, a cut training chooses alike, no gate counts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import StepContext
from opswright.core.gate import GateSpec
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.dataset import DatasetWriter
from opswright.data.sample import Sample
from opswright.skills.evaluate import EvaluateRequest, evaluate
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune
from opswright.skills.gate import GateRequest, gate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
ROWS = [(f"{a} plus {b}", str(n + m)) for n, a in enumerate(WORDS) for m, b in enumerate(WORDS)]
IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
home, ask = sys.argv[1:]
workspace = Workspace(load_settings(home=Path(home)))
workdir = workspace.run_folder("run") / "cut"
workdir.mkdir(parents=True, exist_ok=True)
print(finetune(FinetuneRequest.model_validate(json.loads(ask)),
      StepContext(workspace, "run", "cut", "key-cut", workdir)).model_dump_json())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keep")
    for name, rows in (("sums", ROWS[:24]), ("others", ROWS[40:60])):
        lines = [json.dumps({"text": a + " ?", "label": b}) + "\n" for a, b in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
        text = f"name: {name}\nsamples: {{file: {name}.jsonl}}\ntask: classify\nmax_new_tokens: 6\n"
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Workspace:
    return Workspace(load_settings(home=folder / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    with shared.artifacts.staging() as stage:
        with DatasetWriter(stage, seed=0) as writer:
            for number, (a, b) in enumerate(ROWS):
                writer.add(Sample.of(f"r{number}", a, b), "train", f"g{number}")
        return shared.artifacts.save(DatasetRef, stage, {"train_rows": 64, "validation_rows": 0})


def asked(data: DatasetRef, folder: Path) -> dict[str, Any]:
    return {
        "data": data,
        "keep_by": str(folder / "sums.yaml"),
        "batch_size": 16,
        "epochs": 12,
        "learning_rate": 5e-3,
        "patience": 4,
    }


def step(shared: Workspace, name: str) -> StepContext:
    workdir = shared.run_folder("run") / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(shared, "run", name, f"key-{name}", workdir)


@pytest.fixture(scope="module")
def trained(shared: Workspace, data: DatasetRef, folder: Path) -> FinetuneResult:
    return finetune(FinetuneRequest.model_validate(asked(data, folder)), step(shared, "whole"))


def test_the_weights_of_the_highest_score_are_kept_and_the_scores_with_them(
    shared: Workspace, trained: FinetuneResult, folder: Path
) -> None:
    assert trained.checkpoint is not None
    told = shared.artifacts.open(trained.checkpoint).read_json("selection.json")
    scores = {one["step"]: one["value"] for one in told["scores"]}
    assert len(scores) >= 5 and max(scores) == trained.steps
    best = max(scores.values())
    assert trained.kept_score == best == scores[trained.kept_step]
    assert all(
        value < best for at, value in scores.items() if at < trained.kept_step
    )  # the first of the best
    assert (told["suite"], told["metric"], len(told["questions"])) == ("sums", "exact_match", 24)
    ask = EvaluateRequest(model=trained.checkpoint, suite=folder / "sums.yaml", baselines=False)
    assert evaluate(ask, step(shared, "again")).value == pytest.approx(best)  # it is those weights


def test_a_gate_counts_no_item_that_chose_the_weights(
    shared: Workspace, trained: FinetuneResult, folder: Path
) -> None:
    for name, counted in (("sums", True), ("others", False)):
        suite = folder / f"{name}.yaml"
        ask = EvaluateRequest(model=trained.checkpoint, suite=suite, baselines=False)
        report = evaluate(ask, step(shared, f"judge-{name}")).report
        spec = GateSpec.model_validate({"suite": name, "min": 0.1})
        verdict = gate(GateRequest(report=report, spec=spec), step(shared, f"gate-{name}")).verdict
        found = [row for row in verdict.rows if row.name == "items that chose"]
        assert bool(found) is counted
        if counted:
            assert verdict.decision == "INCONCLUSIVE" and "24 of 24 items decided" in found[0].message


def test_killed_while_a_checkpoint_is_asked_it_chooses_as_if_nothing_had_happened(
    shared: Workspace, trained: FinetuneResult, data: DatasetRef, folder: Path
) -> None:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(shared.root), json.dumps(asked(data, folder))]
    scores = shared.run_folder("run") / "cut" / "checkpoints" / "suite.jsonl"
    parent = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 150
        while not scores.is_file() or scores.read_text().count("\n") < 3:  # the second is begun
            assert parent.poll() is None and time.monotonic() < until
            time.sleep(0.01)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cwd"] == str(
            scores.parent.parent.resolve()
        ) and "opswright.skills.finetune.worker" in (process.info["cmdline"] or []):
            process.kill()
            process.wait()
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1 and "was killed by signal 9" in told.stderr  # what nobody saw is told once
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["checkpoint"] == trained.checkpoint  # the same bytes
