"""Commands that only read: they make nothing where there is nothing, and need no right to write."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.registry import Registry
from opswright.ui.cli import run

CHECKED_BY_MODE = (1, 2, 3)  # the capabilities that let root write what its mode forbids
PR_CAPBSET_DROP = 24
READERS = [
    "status",
    "live",
    "leaderboard",
    "artifacts",
    "audit list",
    "approvals list",
    "spend",
    "whoami",
    "policy show",
    "keys list",
    "skills",
    "notifications status",
]


@pytest.fixture(autouse=True)
def unmirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")


@pytest.mark.parametrize("words", READERS)
def test_a_command_that_reads_makes_no_workspace(words: str, tmp_path: Path) -> None:
    assert run(["--home", str(tmp_path / "ws"), *words.split()]) == 0
    assert not (tmp_path / "ws").exists()


@pytest.fixture
def read_only(tmp_path: Path, small_skills: ModuleType) -> Iterator[Path]:
    """A workspace with a finished and a waiting run, in which nothing may be written."""
    (tmp_path / "lines.txt").write_text("one\ntwo\nthree\n")
    Path("plan.yaml").write_text(small_skills.PLAN)
    home = tmp_path / "ws"
    for words, code in ((["--yes"], 0), ([], 5)):
        assert run(["--home", str(home), "run", "plan.yaml", *words], Registry(small_skills.SKILLS)) == code
    folders = [home, *(path for path in home.rglob("*"))]
    modes = [(path, path.stat().st_mode) for path in folders]
    for path, mode in modes:
        path.chmod(mode & ~0o222)
    yield home
    _writable(home)  # also what was made since
    for path, mode in modes:
        path.chmod(mode)


@pytest.mark.parametrize("words", READERS)
def test_a_command_that_reads_needs_no_right_to_write(words: str, read_only: Path) -> None:
    before = _files(read_only)
    ended = _as_a_reader(read_only, *words.split())
    assert ended.returncode == 0, ended.stderr
    assert _files(read_only) == before


@pytest.mark.parametrize("index", ["none", "behind", "damaged"])
def test_a_question_is_answered_from_a_workspace_that_can_only_be_read(
    index: str, read_only: Path, small_skills: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    if index != "none":  # and the run after it is not in it
        _writable(read_only)
        assert run(["--home", str(read_only), "ask", "what waits for approval?"]) == 0
        Path("plan.yaml").write_text(small_skills.PLAN.replace("goal: ", "goal: Another time, "))
        assert run(["--home", str(read_only), "run", "plan.yaml"], Registry(small_skills.SKILLS)) == 5
        if index == "damaged":
            next(read_only.glob("memory/s-*/encoder.safetensors")).write_bytes(b"other")
        for path in [read_only, *read_only.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o222)
    before, scratch = _files(read_only), read_only.with_name("scratch")
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    ended = _as_a_reader(read_only, "ask", "--json", "--type", "run", "which plans wait for approval?")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert "waits for approval" in found["facts"][0]["text"] and found["passages"]
    assert sum("Put a small model" in one["text"] for one in found["passages"]) == 2 + (index != "none")
    assert any("can only be read" in note for note in found["notes"])
    assert _files(read_only) == before
    assert not list(scratch.glob("opswright-memory-*"))


def _writable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def _as_a_reader(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opswright.ui.cli", "--home", str(home), *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        preexec_fn=_obey_modes,
    )


def _files(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def _obey_modes() -> None:
    """Have a process of root be refused what a file's mode forbids, as anybody else is."""
    if os.geteuid() == 0:
        for capability in CHECKED_BY_MODE:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
