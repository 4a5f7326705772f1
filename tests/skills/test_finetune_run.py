"""Following a training job: its news, its ends, and that it outlives who asked. Workers are scripts."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.compute.local import LocalCompute
from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import NullEvents, StepContext
from opswright.core.errors import AskError, BackendError, BudgetError, HeldError, NeedsError
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, train
from opswright.skills.finetune.launch import Diverged, Follower, environment, run_worker, worker_job

RECORD = '{"step": %d, "epoch": 0, "loss": %s, "tps": 100.0, "num_tokens_per_step": 10}'
SCRIPT_START = f"""
import json, os, sys, time
from pathlib import Path
os.makedirs("checkpoints", exist_ok=True)
def step(number, loss="1.5"):
    with open("checkpoints/training.jsonl", "a") as file:
        file.write({RECORD!r} % (number, loss) + "\\n")
def tell(**news):
    with open("status.jsonl", "a") as file:
        file.write(json.dumps(news) + "\\n")
log = Path("checkpoints/training.jsonl")
tell(training_at=log.stat().st_size if log.exists() else 0, validation_at=0)
"""


class Heard(NullEvents):
    """What was told; `then` runs at the first progress."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.then = then
        self.done: list[tuple[float, float | None]] = []
        self.lines: list[str] = []

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        self.done.append((done, total))
        self.then()

    def log(self, step: str, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def ctx(context: Callable[..., StepContext]) -> StepContext:
    made = context()
    made.events = Heard()
    return made


def script(ctx: StepContext, body: str) -> list[str]:
    path = ctx.workdir / "worker.py"
    path.write_text(SCRIPT_START + textwrap.dedent(body))
    return [sys.executable, str(path)]


def follow(ctx: StepContext, body: str) -> Follower:
    command = script(ctx, body)
    job = worker_job(ctx, "cpu", command=command).model_copy(update={"inputs": (), "outputs": ()})
    return run_worker(ctx, job, LocalCompute(grace_s=5))[1]


def ended(pid: int) -> bool:
    """Whether a process that was killed is gone, which the system may take a moment for."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_progress_loss_and_rate_arrive_while_it_trains(ctx: StepContext) -> None:
    seen = follow(ctx, 'tell(message="training", step=0, total=2)\nstep(0)\nstep(1, "0.5")')
    heard = ctx.events
    assert isinstance(heard, Heard)
    assert heard.lines[-1] == "training" and heard.done[-1] == (2, 2)
    assert ctx.metrics["loss"] == 0.5 and seen.tokens_per_second == 100.0


def test_what_an_earlier_attempt_wrote_is_not_told_again(ctx: StepContext) -> None:
    checkpoints = ctx.workdir / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "training.jsonl").write_text(RECORD % (0, "9.0") + "\n")
    seen = follow(ctx, "tell(step=1, total=2)\nstep(1)")
    assert [record["step"] for record in seen.records] == [1] and seen.resumed_from == 1


def test_a_worker_that_fails_is_reported_with_its_last_lines_and_the_log(ctx: StepContext) -> None:
    with pytest.raises(BackendError, match=r"ended with code 1: .*RuntimeError: out of memory") as error:
        follow(ctx, 'raise RuntimeError("out of memory")')
    assert error.value.log == ctx.workspace.logs / "finetune-run-1-step.log"


def test_a_worker_killed_from_outside_is_reported_by_the_signal(ctx: StepContext) -> None:
    with pytest.raises(BackendError, match="killed by signal 9"):
        follow(ctx, "os.kill(os.getpid(), 9)")


@pytest.mark.parametrize("family", [AskError, NeedsError])
def test_an_error_of_ours_keeps_its_family_across_the_process(
    ctx: StepContext, family: type[Exception]
) -> None:
    left = json.dumps({"family": family.__name__, "message": "row 7 is too long"})
    with pytest.raises(family, match="row 7 is too long"):
        follow(ctx, f"Path('failure.json').write_text({left!r}); sys.exit(1)")


def test_a_loss_that_is_no_number_ends_the_training_at_once(ctx: StepContext) -> None:
    with pytest.raises(Diverged, match=r"loss at step 2 is nan\. Lower learning_rate"):
        follow(ctx, "tell(step=0, total=9)\nstep(0)\nstep(1, 'NaN')\ntime.sleep(60)")


def test_a_stopped_training_may_save_a_checkpoint_before_it_ends(ctx: StepContext) -> None:
    body = """
        import signal
        def save(*_):
            Path("saved").write_text("x"); sys.exit(75)
        signal.signal(signal.SIGTERM, save)
        Path("pid").write_text(str(os.getpid()))
        tell(step=0, total=9)
        time.sleep(60)
    """
    ctx.events = Heard(then=ctx.cancelled.set)
    with pytest.raises(HeldError, match=r"stopped by a person.* Job \d+ on local was cancelled"):
        follow(ctx, body)
    assert (ctx.workdir / "saved").exists()
    assert ended(int((ctx.workdir / "pid").read_text()))


def test_a_step_that_is_run_again_follows_the_same_worker_and_tells_its_curve_from_the_start(
    ctx: StepContext, context: Callable[..., StepContext]
) -> None:
    body = """
        with open("starts", "a") as file: file.write("x")
        tell(step=0, total=2)
        step(0)
        while not Path("go").exists(): time.sleep(0.02)
        step(1, "0.5")
    """
    job = worker_job(ctx, "cpu", command=script(ctx, body))
    job = job.model_copy(update={"inputs": (), "outputs": ()})
    handle = LocalCompute().submit(job)  # by a process that is no more
    (ctx.workdir / "go").touch()
    again = context()
    again.events, again.job = Heard(), handle
    _, seen = run_worker(again, job, LocalCompute(), prepare=lambda: pytest.fail("laid out again"))
    assert (ctx.workdir / "starts").read_text() == "x"
    assert [record["loss"] for record in seen.records] == [1.5, 0.5]


def test_the_end_of_the_time_budget_ends_the_worker_and_its_children(ctx: StepContext) -> None:
    def out_of_time() -> None:
        ctx.deadline = time.monotonic()

    ctx.events = Heard(then=out_of_time)
    body = """
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path("pid").write_text(str(child.pid))
        tell(step=0, total=9)
        time.sleep(60)
    """
    with pytest.raises(BudgetError):
        follow(ctx, body)
    assert ended(int((ctx.workdir / "pid").read_text()))


def test_the_worker_sees_no_network_and_threads_that_do_not_spin() -> None:
    env = environment(2, "cpu")
    assert (env["OMP_NUM_THREADS"], env["GOMP_SPINCOUNT"], env["HF_HUB_OFFLINE"]) == ("2", "1000", "1")
    assert env["CUDA_VISIBLE_DEVICES"] == "" and "CUDA_VISIBLE_DEVICES" not in environment(2, "cuda")


def test_the_same_training_gives_the_same_checkpoint_with_recipe_curve_and_facts(
    context: Callable[..., StepContext], workspace: Workspace
) -> None:
    with workspace.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("{}\n")
        data = workspace.artifacts.save(DatasetRef, folder, {"train_rows": 100, "validation_rows": 0})
    request = FinetuneRequest(data=data, batch_size=50, epochs=1)
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, "__metadata__": {}})
    body = f"""
        step(0); step(1, "0.25")
        Path("result").mkdir()
        header = {header.encode()!r}
        Path("result/model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(48))
    """
    steps = (context(run="a"), context(run="b"))
    results = [train(request, ctx, script(ctx, body)) for ctx in steps]
    assert results[0].checkpoint == results[1].checkpoint
    assert results[0].checkpoint is not None
    checkpoint = workspace.artifacts.open(results[0].checkpoint)
    assert checkpoint.facts["parameters"] == 12 and checkpoint.facts["steps"] == 2
    assert checkpoint.facts["final_loss"] == pytest.approx(0.875) and checkpoint.facts["device"] == "cpu"
    assert checkpoint.parents == (data,)
    assert {"recipe.yaml", "training.jsonl", "training.json"} <= set(checkpoint.files)
