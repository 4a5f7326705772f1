"""Ctrl-C in the middle of a run: exit code 130, nothing lost, and `resume` goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """\
import sys, time
from pathlib import Path
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.ui.cli import run

class SlowRequest(Request):
    seconds: float = 600

class SlowResult(Result):
    ok: bool

@skill(effect=Effect.WRITES, summary="Wait, unless told to go on.")
def slow(ask: SlowRequest, ctx: StepContext) -> SlowResult:
    Path("started").touch()
    end = time.monotonic() + ask.seconds
    while time.monotonic() < end and not Path("go").exists():
        ctx.progress(0, 1, "waits")
        time.sleep(0.02)
    return SlowResult(ok=True)

sys.exit(run(sys.argv[1:], Registry([slow])))
"""


def test_ctrl_c_ends_with_130_and_resume_finishes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OPSWRIGHT_HOME": str(tmp_path / "ws"), "OPSWRIGHT_MLFLOW__MIRROR": "off"}
    command = [sys.executable, str(program)]
    child = subprocess.Popen(
        [*command, "slow"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=240)
    finally:
        child.kill()
    assert child.returncode == 130 and "opswright resume" in said and "Traceback" not in said
    ledger = "".join(path.read_text() for path in (tmp_path / "ws" / "ledger").glob("*.jsonl"))
    assert '"phase":"failed"' in ledger
    run_id = ledger.split('"run":"')[1].split('"')[0]
    (tmp_path / "go").touch()
    ended = subprocess.run(
        [*command, "resume", run_id],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0 and "done" in ended.stdout
