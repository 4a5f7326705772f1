"""The wheel alone, in an empty folder: everything it needs is in it, and a file becomes a plan."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import opswright

pytestmark = pytest.mark.e2e

ROOT = Path(opswright.__file__).resolve().parent
NOT_SHIPPED = (".ci", "docs", "tests", "benchmarks")
OF_THE_CHECKOUT = ("Makefile", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")
Command = Callable[..., str]


def tracked() -> list[str]:
    """The files of the checkout that a wheel should hold, as it names them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.splitlines() if (ROOT / name).is_file()]
    return [
        f"opswright/{name}"
        for name in files
        if name.split("/")[0] not in NOT_SHIPPED and name not in OF_THE_CHECKOUT and name[0] != "."
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built of the tracked files, and of nothing that lies about here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in [*(file.removeprefix("opswright/") for file in tracked()), *OF_THE_CHECKOUT]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True, timeout=100)
    return next(folder.glob("opswright-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else of Opswright."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(folder), str(wheel)], check=True, timeout=100)
    return folder


@pytest.fixture
def command(installed: Path, tmp_path: Path) -> Command:
    """Runs the installed `opswright` in an empty folder; gives what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPSWRIGHT_")}
    env = {**kept, "PYTHONPATH": str(installed), "OPSWRIGHT_MLFLOW__MIRROR": "off"}

    def run(*words: str, program: str = "from opswright.ui.cli import main; main()") -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *words],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    return run


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    assert [name for name in tracked() if name not in held] == []
    assert [name for name in held if name.split("/")[1] in NOT_SHIPPED] == []


def test_a_file_becomes_a_project_and_a_plan_outside_the_checkout(command: Command, tmp_path: Path) -> None:
    where = command(program="import opswright; print(opswright.__file__)").strip()
    assert not Path(where).resolve().is_relative_to(ROOT)
    rows = [{"frage": f"wo ist paket {i}?", "antwort": f"in regal {i % 7}"} for i in range(120)]
    (tmp_path / "pakete.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command("init", "pakete.jsonl", "--yes", "--column", "user=frage", "--column", "target=antwort")
    plan = json.loads(command("plan", "plans/ship.yaml", "--json"))["plan"]
    assert [step["skill"] for step in plan["steps"]][-1] == "deploy"
    assert "clinc150" in command("suites", "list")
    assert "curate" in command("skills")


def test_the_console_lays_out_its_pages_outside_the_checkout(command: Command) -> None:
    program = (
        "from opswright.core.settings import load_settings\n"
        "from opswright.skills import load_registry\n"
        "from opswright.ui.console.app import application\n"
        "from opswright.ui.console.console import Console\n"
        "console = Console(load_registry(), load_settings())\n"
        "print(sorted(application(console, '127.0.0.1', 7860).pages))\n"
        "console.close()\n"
    )
    assert "'/data'" in command(program=program)
