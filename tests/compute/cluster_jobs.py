"""What the tests of jobs share: work that leaves marks, and short ways to begin and attach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opswright.compute import Compute, Job
from opswright.compute.kubernetes import KubernetesCompute
from opswright.core.contract import JobHandle, NullEvents, StepContext
from opswright.core.settings.compute import KubernetesSettings

MakeJob = Callable[..., Job]
WORK = "echo $$ >> started; echo attempt; while [ ! -e go ]; do sleep 0.05; done; echo done > out"


class Lines(NullEvents):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, step: str, line: str) -> None:
        self.lines.append(line)


def with_(settings: KubernetesSettings, **changes: object) -> KubernetesCompute:
    return KubernetesCompute(settings.model_copy(update=changes), grace_s=4)


def starts(job: Job) -> int:
    path = job.folder / "started"
    return len(path.read_text().splitlines()) if path.exists() else 0


def begin(backend: Compute, job: Job, wait: Any) -> JobHandle:
    handle = backend.submit(job)
    wait.until(lambda: starts(job))
    return handle


def attach(context: Callable[..., StepContext], handle: JobHandle) -> StepContext:
    ctx = context()
    ctx.events, ctx.job = Lines(), handle
    return ctx
