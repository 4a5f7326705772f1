"""Runs that go on: handed to a worker process, followed with progress, stopped when the call is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from ...agents.agent import RunOutcome
from ...agents.run_events import RunEvents, run_events_path
from ...agents.stopping import request_stop
from ...agents.worker import Worker
from ...core.errors import BackendError
from ...core.workspace import Workspace
from .callers import McpCaller

if TYPE_CHECKING:
    from .desk import McpDesk

_LOOK_EVERY_S = 0.2
_OVER = ("done", "denied", "refused")

Report = Callable[[float, float | None, str | None], Awaitable[None]]


class RunWorker(Protocol):
    """Carries out one run, as `agents.worker.Worker` does in a process of its own."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""

    def give(self, job: dict[str, Any]) -> bool:
        """Hand over the run; False when it ended."""


class RunFollower:
    """Carries runs out in worker processes, which outlive the server: one worker a run."""

    def __init__(self, desk: McpDesk, make_worker: Callable[[Workspace], RunWorker] = Worker) -> None:
        self._desk = desk
        self._make_worker = make_worker
        self._workers: dict[str, RunWorker] = {}
        self._lock = threading.Lock()

    def begin(self, caller: McpCaller, run: str) -> None:
        """Have a worker carry the run out, unless some process does already.

        A worker that has not taken the run's lock yet, or has given it back, is waited for: it is either
        about to begin or about to end.
        """
        while True:
            with self._lock:
                if self._desk.workspace.is_held(run):
                    return
                worker = self._workers.get(run)
                if worker is None or not worker.is_running:
                    self._workers[run] = self._started(caller, run)
                    return
            time.sleep(_LOOK_EVERY_S)

    def _started(self, caller: McpCaller, run: str) -> RunWorker:
        worker = self._make_worker(self._desk.workspace)
        if not worker.give({"run": run, "principal": caller.principal.fields(), "since": time.time()}):
            raise BackendError("the worker process ended at its start; see logs/worker.log.")
        self._workers = {name: one for name, one in self._workers.items() if one.is_running}
        return worker

    def is_going(self, run: str) -> bool:
        """Whether a process carries the run out, or is about to."""
        worker = self._workers.get(run)
        return (worker is not None and worker.is_running) or self._desk.workspace.is_held(run)

    def stop(self, caller: McpCaller, run: str) -> None:
        """Ask whoever carries the run out to stop it."""
        worker = self._workers.get(run)
        starting = worker is not None and worker.is_running
        request_stop(self._desk.workspace, run, str(caller.principal), is_starting=starting)

    async def follow(self, caller: McpCaller, run: str, wait_s: float, report: Report) -> RunOutcome:
        """Wait until the run is over or `wait_s` have passed, telling how far it is; then how it stands."""
        import anyio
        from anyio.to_thread import run_sync

        ends = time.monotonic() + wait_s
        seen = RunEvents(run_events_path(self._desk.workspace, run))
        told = -1.0
        while await run_sync(self.is_going, run) and time.monotonic() < ends:
            done, total, words = await run_sync(self.progress, seen, run)
            if done > told:
                told = done
                await report(done, total, words)
            await anyio.sleep(_LOOK_EVERY_S)
        return await run_sync(self._desk.agent(caller).outcome, run)

    def progress(self, seen: RunEvents, run: str) -> tuple[float, float, str]:
        """Steps done, with a part for the one that runs, of how many, and where it is in words."""
        plan = self._desk.plan_of_run(run)
        total = float(len(plan.steps)) if plan is not None else 1.0
        done, words = 0.0, "starting"
        for step in seen.refresh().steps.values():
            if step.state != "running":
                done += step.state in ("done", "reused")
                continue
            done += min(step.done / step.total, 0.99) if step.total else 0.0
            words = f"{step.step} ({step.skill}): {step.done:g} {step.unit}".strip()
        return round(min(done, total), 4), total, words[:200]

    def figures(self, run: str) -> dict[str, Any]:
        """How far a run is, as JSON."""
        seen = RunEvents(run_events_path(self._desk.workspace, run))
        done, total, words = self.progress(seen, run)
        return {"steps_done": done, "steps": total, "now": words}


def is_over(outcome: RunOutcome) -> bool:
    """Whether nothing of a run is left to carry out."""
    return outcome.status in _OVER
