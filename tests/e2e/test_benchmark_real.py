"""Benchmarks of two real servers: a bundle behind our gateway, and `transformers serve` on its checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.evals.load.report import load_board, read_load_report
from opswright.serving import processes
from opswright.skills.benchmark import BenchmarkRequest, benchmark

COMMAND = Path(sys.executable).with_name("transformers")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not COMMAND.is_file(), reason="no `transformers serve` here: pip install transformers[serving]"
    ),
]
_PATIENCE_S = 120.0
SUITE = """\
task: generate
samples:
  - {text: "what is the weather", target: x}
  - {text: "transfer money to my savings account", target: x}
  - {text: "card lost", target: x}
"""


@pytest.fixture
def other_server(
    engines: tuple[Path, Path], tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[tuple[str, str]]:
    """Address and model of Hugging Face's server."""
    model, port = str(engines[0].parent / "model"), free_port()
    log = tmp_path / "transformers.log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(COMMAND), "serve", model, "--device", "cpu", "--port", str(port)],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=5, trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", model
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_bundle_behind_the_gateway_is_measured_in_turns_with_another_server(
    engines: tuple[Path, Path], triton_home: Path, tmp_path: Path, other_server: tuple[str, str]
) -> None:
    settings = ServingSettings(gateway_port=0, triton_home=triton_home, server="triton")
    workspace = Workspace(load_settings(home=tmp_path / "workspace", serving=settings))
    with workspace.artifacts.staging() as stage:
        shutil.copytree(engines[0], stage / "engine")
        (stage / "manifest.json").write_text("{}")
        bundle = workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})
    suite = tmp_path / "load.yaml"
    suite.write_text(SUITE)
    (tmp_path / "step").mkdir()
    ctx = StepContext(workspace, "run-1", "speed", "key-1", tmp_path / "step")
    url, model = other_server
    found = benchmark(
        BenchmarkRequest(
            model=bundle,
            against=url,
            against_model=model,
            suite=str(suite),
            concurrency=(2,),
            requests=24,
            turns=6,
            warmup=2,
            output_tokens=16,
        ),
        ctx,
    )
    (level,) = found.levels
    assert (level.completed, level.failed, found.counted_by) == (24, 0, "usage")
    assert found.server.startswith("opswright v1-")
    assert found.against is not None
    theirs = read_load_report(workspace.artifacts.open(found.against))
    assert theirs.levels[0]["completed"] == 24 and theirs.levels[0]["counted_by"] == {"usage": 24}
    assert found.differences["e2el p50 ms at 2"].endswith("B is better"), "an engine of C++ against Python"
    assert {row.concurrency for row in load_board(workspace.artifacts)} == {2}
    home = f"--home\0{tmp_path / 'step'}"
    assert not processes.with_argument(home), "its own gateway is gone"
