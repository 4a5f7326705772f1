"""Triton's own environment: made once, by whoever needs it first, checked whenever it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opswright.core.errors import NeedsError
from opswright.serving.triton.environment import PlatformFacts, is_installed, locate

pytestmark = pytest.mark.e2e

LOCATE = """
import sys
from pathlib import Path
from opswright.serving.triton.environment import PlatformFacts, locate
print(locate(Path(sys.argv[1]), PlatformFacts.here(), lambda line: print(line)).binary)
"""


def test_several_processes_that_need_it_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCATE, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=100)[0].splitlines() for process in running]
    assert {process.returncode for process in running} == {0}
    assert len({lines[-1] for lines in said}) == 1
    assert sum("installing" in lines[0] for lines in said) == 1
    assert is_installed(tmp_path)
    packages = {path.name for path in tmp_path.glob("*/lib/*/site-packages/*.dist-info")}
    assert {"nvidia_pytriton-0.7.0.dist-info", "numpy-1.26.4.dist-info"} <= packages
    assert not any(name.startswith("torch-") for name in packages)


def test_without_a_package_index_it_says_what_to_do_and_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(
        NeedsError, match=r"(?s)pip install --no-deps nvidia-pytriton==0.7.0.*SERVER=in-process"
    ):
        locate(tmp_path, PlatformFacts.here(), lambda line: None)
    assert not is_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
