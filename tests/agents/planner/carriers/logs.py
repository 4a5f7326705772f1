"""What a job and an engine server print before they fail."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry

from .common import Reading, carried_out, of_failed, one_line


class _PrintRequest(Request):
    lines: tuple[str, ...]


class _PrintResult(Result):
    done: bool


@skill(effect=Effect.WRITES, summary="Run a job that prints lines and fails.", reusable=False)
def print_and_fail(request: _PrintRequest, ctx: StepContext) -> _PrintResult:
    from opswright.compute import Job, run_job
    from opswright.compute.local import LocalCompute

    command = ("bash", "-c", 'printf "%s\\n" "$@"; exit 3', "_", *request.lines)
    job = Job(name="prints", key=ctx.idempotency_key, command=command, folder=ctx.workdir,
              log=ctx.workdir / "job.log")  # fmt: skip
    run_job(ctx, job, LocalCompute())
    return _PrintResult(done=True)


def job_logs(world: Any, texts: list[str]) -> Reading:
    """Last lines of the log of a job that failed: they stand in its step's error."""
    lines = json.dumps([one_line(text, 300) for text in texts])
    plan = f"goal: g\nsteps:\n  job: {{skill: print-and-fail, with: {{lines: {lines}}}}}\n"
    outcome = carried_out(world, plan, Registry((print_and_fail,)))
    assert outcome.exit_code == 1, outcome.message
    return of_failed(world, outcome)


class _ServeRequest(Request):
    pass


@skill(effect=Effect.WRITES, summary="Start a gateway, and wait for its engine server.", reusable=False)
def start_serving(request: _ServeRequest, ctx: StepContext) -> _PrintResult:
    from opswright.core.workspace import Workspace
    from opswright.serving.fleet import GatewayClient, stop_all

    quick = {"server": "triton", "gateway_port": 0, "start_timeout_s": 8.0}
    serving = ctx.workspace.settings.serving.model_copy(update=quick)
    workspace = Workspace(ctx.workspace.settings.model_copy(update={"serving": serving}))
    gateway = GatewayClient(workspace)
    try:
        gateway.start()
        gateway.facts()
    finally:
        stop_all(workspace)
    return _PrintResult(done=True)


def engine_logs(world: Any, texts: list[str]) -> Reading:
    """What an engine server says on stderr before it ends: a real gateway tells it as why nothing answers."""
    server = world.folder / "tritonserver"
    said = " ".join(shlex.quote(one_line(text, 300)) for text in texts)
    server.write_text(f"#!/bin/sh\nprintf '%s\\n' {said} >&2\nexit 3\n")
    server.chmod(0o755)
    with _variable("TRITON_SERVER", str(server)):
        plan = "goal: g\nsteps:\n  up: {skill: start-serving}\n"
        outcome = carried_out(world, plan, Registry((start_serving,)))
    assert outcome.exit_code == 1 and "tritonserver ended" in outcome.message, outcome.message
    return of_failed(world, outcome)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
