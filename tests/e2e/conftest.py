"""Fixtures of the tests with real servers: tiny engines and Triton's environment, made once a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two engine folders whose answers differ."""
    folder = tmp_path_factory.mktemp("engines")
    command = [sys.executable, str(Path(__file__).with_name("tiny_engines.py")), str(folder), "1", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "1" / "engine", folder / "2" / "engine"


@pytest.fixture(scope="session")
def triton_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Triton's own environment lies: OPSWRIGHT_SERVING__TRITON_HOME, or a folder of this session."""
    named = os.environ.get("OPSWRIGHT_SERVING__TRITON_HOME")
    return Path(named) if named else tmp_path_factory.mktemp("triton")
