"""Curating on real Ray clusters: two nodes of which one dies, and one of this machine whose driver dies.

Needs the environment of requirements-ray.txt: OPSWRIGHT_TEST_RAY_PYTHON names its interpreter.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.curate import CurateRequest, CurateResult, curate
from opswright.skills.curate.on_ray.work import read_work

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.timeout(900)]
PARTS, ROWS_A_PART = 16, 120
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
Curate = Callable[..., CurateResult]


@pytest.fixture(scope="module")
def python() -> str:
    named = os.environ.get("OPSWRIGHT_TEST_RAY_PYTHON")
    if named is None:
        pytest.skip(
            "OPSWRIGHT_TEST_RAY_PYTHON names no Python with what requirements-ray.txt lists (`make ray`)"
        )
    return named


@dataclass(frozen=True)
class TwoNodes:
    """The cluster's program, to be told what to do."""

    process: subprocess.Popen[str]
    address: str

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def two_nodes(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    home = Path("/tmp") / f"ray-test-{os.getpid()}"  # a socket's path is short
    (home / "ray").mkdir(parents=True)
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [python, str(Path(__file__).with_name("ray_nodes.py"))],
            env={**os.environ, **QUIET, "RAY_TMPDIR": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    said = process.stdout.readline().split()
    assert said and said[0] == "ready", (home / "log").read_text()[-2000:]
    yield TwoNodes(process, said[1])
    children = psutil.Process(process.pid).children(recursive=True)
    process.communicate("stop\n", timeout=120)
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()
    subprocess.run(["rm", "-rf", str(home)], check=True)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Documents with copies: enough work that a worker has some time to die in."""
    draw = random.Random(1)
    known = ["".join(draw.choices("bcdfgaeiou", k=draw.randint(3, 8))) for _ in range(2000)]
    texts = [draw.choices(known, k=250) for _ in range(PARTS * ROWS_A_PART - 200)]
    near = [[*text[:-2], "other", "words"] for text in texts[:100]]
    said = [" ".join(text) for text in (*texts, *near, *texts[100:200])]
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"question": "Tell me more.", "answer": one}) + "\n" for one in said]
    path.write_text("".join(lines))
    return path


@pytest.fixture
def on(python: str, tmp_path: Path, rows: Path) -> Callable[..., CurateResult]:
    """Curates the rows somewhere, in the same workspace."""

    def run(where: str, run_id: str, address: str | None = None, **more: Any) -> Any:
        ray = {
            "python": python,
            "address": address,
            "rows_a_part": ROWS_A_PART,
            "shared_folder": tmp_path / "shared",
        }
        settings = load_settings(home=tmp_path / "home", actor="tester", compute={"ray": ray})
        workspace = Workspace(settings)
        workdir = workspace.run_folder(run_id) / "data"
        workdir.mkdir(parents=True, exist_ok=True)
        ctx = StepContext(
            workspace=workspace, run_id=run_id, step_id="data", idempotency_key=run_id, workdir=workdir
        )
        asked = {"filters": ("length",), "near_duplicate_jaccard": 0.8, **more}
        request = CurateRequest.model_validate({"source": rows, "compute": where, **asked})
        return curate(request, ctx)

    return run


def marks(tmp_path: Path) -> dict[Path, int]:
    """Files of marks, and when each was written."""
    return {
        path: path.stat().st_mtime_ns for path in (tmp_path / "shared").glob("curate-*/*/marks/*.parquet")
    }


def once(is_so: Callable[[], bool], what: str, patience_s: float = 600) -> None:
    until = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.05)


def drivers(tmp_path: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "opswright.skills.curate.on_ray.driver" in line and str(tmp_path) in " ".join(line):
            found.append(process)
    return found


def test_a_worker_and_a_node_die_and_no_row_is_lost_or_doubled(
    two_nodes: TwoNodes, on: Curate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    here = on("local", "here")
    assert here.dropped == {"exact_duplicate": 100, "near_duplicate": 100}
    found: list[CurateResult] = []
    thread = threading.Thread(target=lambda: found.append(on("ray", "there", two_nodes.address)))
    thread.start()
    assert two_nodes.tell("nodes") == "2"
    assert two_nodes.tell("kill worker") == "done"
    once(lambda: len(marks(tmp_path)) >= 2, "two parts are marked")
    assert two_nodes.tell("kill node") == "done"
    at_death = len(marks(tmp_path))
    assert at_death < PARTS, "the node died after the work"
    thread.join()
    once(lambda: two_nodes.tell("nodes") == "1", "Ray holds the node for dead")
    assert [one.dataset for one in found] == [here.dataset], "the same rows, to the byte"
    assert found[0].dropped == here.dropped and found[0].rows == here.rows
    assert not list((tmp_path / "shared").iterdir()), "what is done is gone"


def test_a_driver_that_was_killed_is_taken_up_where_it_was(on: Curate, tmp_path: Path) -> None:
    failed: list[Exception] = []

    def first() -> None:
        try:
            on("ray", "twice")
        except BackendError as error:
            failed.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    once(lambda: len(marks(tmp_path)) >= 4, "four parts are marked")
    for process in drivers(tmp_path):
        process.send_signal(signal.SIGKILL)
    thread.join()
    done = marks(tmp_path)
    assert len(failed) == 1 and "SIGKILL" in str(failed[0]) and 4 <= len(done) < PARTS
    assert not drivers(tmp_path)
    seen: dict[Path, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.update(marks(tmp_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    again = on("ray", "twice")
    over.set()
    watcher.join()
    again_written = [path.name for path in done if seen[path] != done[path]]
    assert len(seen) == PARTS and len(again_written) <= 2, (
        "at most what was under way at its death is done again"
    )
    assert again.dataset == on("local", "here").dataset


def test_what_fails_on_a_worker_is_told_here(python: str, on: Curate, tmp_path: Path, rows: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("badword\n")
    failing = threading.Event()

    def lose_the_list() -> None:
        while not failing.wait(0.01):
            for path in (tmp_path / "shared").glob("curate-*/words-*"):
                path.write_text("")

    thread = threading.Thread(target=lose_the_list)
    thread.start()
    with pytest.raises(AskError, match="holds no word"):
        on("ray", "fails", None, filters=("toxicity",), toxic_words=words)
    failing.set()
    thread.join()
    plans = list((tmp_path / "shared").glob("curate-*/*/work.json"))
    assert len(plans) == 1 and read_work(str(plans[0].parent)).rows == PARTS * ROWS_A_PART
