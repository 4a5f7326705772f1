"""Kills a run of small skills with SIGKILL at many instants, resumes each, and prints what came of it.

Run as `python kill_sweep.py FOLDER POINTS`. Forks from one warm process, so that a point costs a run and not
an import. An instant is the n-th Python call inside Opswright or the checkpointer, counted in all threads.
In turn, a point is a plain kill, a kill after which the code is another version, a power cut (what was not
flushed is gone, see power_loss.py), and a kill of a run with a job, which goes on without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from opswright.agents import receipts
from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.planner import Ask
from opswright.agents.runs import list_runs
from opswright.compute import Job, open_compute, run_job
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger

KINDS = ("kill", "other code", "power cut", "job")


class LabourRequest(Request):
    pass


class LabourResult(Result):
    ok: bool


@skill(effect=Effect.WRITES, summary="Have a job of this machine work a while.", reusable=False)
def labour(request: LabourRequest, ctx: StepContext) -> LabourResult:
    job = Job(
        name="labour",
        key=ctx.idempotency_key,
        command=("bash", "-c", f"echo ran >> {Path.cwd()}/ran.txt; sleep 0.3; echo done > out.txt"),
        folder=ctx.workdir,
        log=ctx.workdir / "labour.log",
        outputs=("out.txt",),
    )
    done = run_job(ctx, job, open_compute("local", ctx.settings))
    return LabourResult(ok=(done.folder / "out.txt").exists())


def beside(name: str, file: str) -> ModuleType:
    """A module from a file beside this one; tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{file} is not beside this file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


power_loss = beside("power_loss", "power_loss.py")


def make_agent(skills: ModuleType) -> Agent:
    settings = load_settings(home=Path("ws"), actor="ada", mlflow={"mirror": "off"})
    return Agent(Workspace(settings), Registry((*skills.SKILLS, labour)))


class Killer:
    """Counts calls into the watched code and, at the chosen one, ends the process as `kill -9` does."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0
        roots = (Path(sys.modules["opswright"].__file__ or "").parent,)
        self._watched = (
            *(f"{root}/{layer}" for root in roots for layer in ("core", "record", "agents")),
            "langgraph/checkpoint",
        )

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and any(part in frame.f_code.co_filename for part in self._watched):
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def run_once(skills: ModuleType, killer: Killer) -> None:
    one = make_agent(skills)
    ask = Ask("plan_file", "plan.yaml")
    consent = Consent(one.plan_for(ask).plan.id, "test")
    threading.setprofile(killer)
    sys.setprofile(killer)
    try:
        one.start(ask, consent)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def in_child(folder: Path, work: Any) -> int:
    """The wait status of `work` done in a forked child that has `folder` as its current one."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(folder)
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def prepare(folder: Path, skills: ModuleType, kind: str = "kill") -> None:
    folder.mkdir(parents=True)
    (folder / "lines.txt").write_text("one\ntwo\nthree\n")
    plan = (
        skills.PLAN.replace("  live:", "  work: {skill: labour}\n  live:") if kind == "job" else skills.PLAN
    )
    (folder / "plan.yaml").write_text(plan)


def _lines(name: str) -> int:
    return len(Path(name).read_text().splitlines()) if Path(name).exists() else 0


def finish(skills: ModuleType, kind: str = "kill") -> None:
    """Resume the run, or start it when it was killed before its first record."""
    if kind == "other code":
        receipts.code_version = lambda module: "another version"  # type: ignore[assignment]
    one = make_agent(skills)
    runs = list_runs(one)
    if runs:
        outcome = one.resume(runs[0].run)
        if outcome.status == "waiting":  # killed between the proposal's record and the consent's
            assert outcome.plan is not None
            outcome = one.resume(outcome.run, Consent(outcome.plan.id, "test"))
    else:
        ask = Ask("plan_file", "plan.yaml")
        outcome = one.start(ask, Consent(one.plan_for(ask).plan.id, "test"))
    state = {
        "status": outcome.status,
        "results": {k: v for k, v in outcome.results.items() if k not in ("live", "work")},
        "jobs": _lines("ran.txt") if kind == "job" else 1,
        "board": _lines("board.txt"),
        "faults": [fault.message for fault in Ledger.of(one.workspace).verify()],
        "runs": len(list_runs(one)),
        "ends": [r.phase for r in Ledger.of(one.workspace).records() if r.step is None][-1],
        "done": sorted(
            r.step
            for r in Ledger.of(one.workspace).records()
            if r.step and r.step != "work" and r.phase in ("done", "reused")
        ),
    }
    Path("state.json").write_text(json.dumps(state))


def warm(folder: Path, skills: ModuleType) -> None:
    """Import here what a run imports on its way, so that no child does it again."""

    def list_modules() -> None:
        run_once(skills, Killer(None))
        Path("modules").write_text("\n".join(sys.modules))

    prepare(folder, skills)
    if in_child(folder, list_modules) != 0:
        raise SystemExit("the first run failed")
    for name in (folder / "modules").read_text().split():
        if name not in sys.modules and not name.startswith("_"):
            with contextlib.suppress(ImportError, ValueError):
                importlib.import_module(name)


def main(root: Path, points: int) -> None:
    skills = beside("small_skills", "conftest.py")
    counter = Killer(None)

    def count() -> None:
        run_once(skills, counter)
        Path("calls").write_text(str(counter.count))

    warm(root / "first", skills)
    prepare(root / "whole", skills)
    if in_child(root / "whole", count) != 0:
        raise SystemExit("the uninterrupted run failed")
    in_child(root / "whole", lambda: finish(skills))
    calls = int((root / "whole" / "calls").read_text())
    for index in range(points):
        at = 1 + index * (calls - 1) // points
        folder = root / f"killed-{at:06d}"
        kind = KINDS[index % len(KINDS)]
        prepare(folder, skills, kind)
        disk = power_loss.Disk(folder / "ws", folder / "durable")

        def killed(at: int = at, kind: str = kind, disk: Any = disk) -> None:
            if kind == "power cut":
                disk.watch()
            run_once(skills, Killer(at))

        status = in_child(folder, killed)
        if kind == "power cut":
            disk.cut()
        ended = in_child(folder, lambda kind=kind: finish(skills, kind))
        state = json.loads((folder / "state.json").read_text()) if ended == 0 else None
        point = {"at": at, "of": calls, "kind": kind, "killed": os.WIFSIGNALED(status), "state": state}
        print(json.dumps(point), flush=True)
    print(json.dumps({"whole": json.loads((root / "whole" / "state.json").read_text())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
