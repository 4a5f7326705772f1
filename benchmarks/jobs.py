"""What a job costs beside the same work done in the process: submit, poll, end to end; and Slurm's queue.

The work is a fresh Python that imports nothing and writes a file. In-process is the function itself, which is
what a job can never be; a bare subprocess is what the work costs in any other process.

About a minute on any machine: `python benchmarks/jobs.py [--repeats 30] [--slurm]`. With --slurm, the Slurm
that `sbatch` reaches is measured too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from opswright.compute import Compute, Job, JobState, open_compute, run_job
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

SECONDS = 1.0
PROGRAM = f"import time; time.sleep({SECONDS}); open('out', 'w').write('x')"
COMMAND = (sys.executable, "-S", "-c", PROGRAM)


def timed(call: Callable[[], object]) -> float:
    """Milliseconds a call takes."""
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def in_process(folder: Path) -> None:
    """The work as a function call."""
    time.sleep(SECONDS)
    (folder / "out").write_text("x")


def show(name: str, values: list[float], than: float | None = None) -> None:
    """One line of the table."""
    p95 = statistics.quantiles(values, n=20)[-1]
    ratio = f"{statistics.median(values) / than:9.3f}" if than else ""
    print(f"{name:44} {statistics.median(values):9.2f} {p95:9.2f} {len(values):4} {ratio}")


class Bench:
    """Jobs of one workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(load_settings(home=folder / "ws"))
        self.number = 0

    def job(self, command: tuple[str, ...] = COMMAND) -> Job:
        """A job of its own folder and key."""
        self.number += 1
        folder = self.folder / f"job-{self.number}"
        folder.mkdir()
        return Job(
            name="bench",
            key=str(self.number),
            command=command,
            folder=folder,
            log=folder / "log",
            outputs=() if command != COMMAND else ("out",),
        )

    def whole(self, backend: Compute) -> None:
        """A job from submission to outputs, as a step runs it."""
        job = self.job()
        ctx = StepContext(self.workspace, "run", f"s{self.number}", job.key, job.folder)
        run_job(ctx, job, backend)

    def until_running(self, backend: Compute) -> float:
        """Milliseconds from submission to a job that runs."""
        started = time.perf_counter()
        handle = backend.submit(self.job(("sleep", "30")))
        while backend.poll(handle).state is not JobState.RUNNING:
            time.sleep(0.01)
        took = 1000 * (time.perf_counter() - started)
        backend.cancel(handle)
        while not backend.poll(handle).state.is_final:
            time.sleep(0.05)
        return took

    def measure(self, name: str, repeats: int, than: float) -> None:
        """Submit, poll and the whole, for one backend."""
        backend = open_compute(name, self.workspace.settings)
        handles, submits = [], []
        for _ in range(repeats):
            job = self.job(("true",))
            submits.append(timed(lambda job=job: handles.append(backend.submit(job))))  # type: ignore[misc]
        show(f"{name}: submit", submits)
        waiting = backend.submit(self.job(("sleep", "60")))
        show(f"{name}: poll", [timed(lambda: backend.poll(waiting)) for _ in range(repeats)])
        backend.cancel(waiting)
        while not backend.poll(handles[-1]).state.is_final:
            time.sleep(0.1)
        show(f"{name}: submit to running", [self.until_running(backend) for _ in range(max(5, repeats // 6))])
        whole = [timed(lambda: self.whole(backend)) for _ in range(max(5, repeats // 6))]
        show(f"{name}: the work as a step's job", whole, than)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--slurm", action="store_true", help="measure the Slurm that sbatch reaches, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-jobs-") as name:
        Path(name).chmod(0o755)
        bench = Bench(Path(name))
        title = f"the work: {SECONDS:g} s of waiting and a file"
        print(f"{title:44} {'p50 ms':>9} {'p95 ms':>9} {'n':>4} {'ratio':>9}")
        rounds = max(5, asked.repeats // 6)
        here = [timed(lambda: in_process(bench.folder)) for _ in range(rounds)]
        than = statistics.median(here)
        show("the work in this process", here, than)
        bare = [timed(lambda: subprocess.run(COMMAND, cwd=name, check=True)) for _ in range(rounds)]
        show("the work in a bare subprocess", bare, than)
        bench.measure("local", asked.repeats, than)
        if asked.slurm:
            bench.measure("slurm", asked.repeats, than)
    print(f"cores: {len(os.sched_getaffinity(0))}")


if __name__ == "__main__":
    main()
