"""Triton's server: installed once, by whoever needs it first, checked whenever it is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from opswright.core.errors import NeedsError
from opswright.serving.triton.environment import PlatformFacts, locate
from opswright.serving.triton.installation import is_installed, server_folder

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
    packages = {path.name for path in tmp_path.glob("*/packages/*.dist-info")}
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


def linked(source: str, target: str) -> str:
    """A copy that takes no room where both are on one disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def located(home: Path) -> tuple[Path, list[str]]:
    said: list[str] = []
    return locate(home, PlatformFacts.here(), said.append).binary, said


def test_a_server_that_lost_a_file_or_was_left_half_made_is_installed_anew(
    triton_home: Path, tmp_path: Path
) -> None:
    whole, _ = located(triton_home)
    folder = server_folder(tmp_path)
    shutil.copytree(server_folder(triton_home), folder, symlinks=True, copy_function=linked)
    assert located(tmp_path) == (folder / whole.relative_to(server_folder(triton_home)), [])
    (folder / "backends" / "python" / "libtriton_python.so").unlink()
    half = tmp_path / f".{folder.name}.12345678"  # of a process that was killed
    (half / "packages").mkdir(parents=True)
    binary, said = located(tmp_path)
    assert len(said) == 1 and binary.is_file() and is_installed(tmp_path)
    assert not half.exists() and located(tmp_path) == (binary, [])


def test_an_environment_that_a_workspace_has_already_still_starts(triton_home: Path, tmp_path: Path) -> None:
    """As version 0.1 made it: the wheels in a virtual environment of the workspace."""
    located(triton_home)
    version = "{}.{}".format(*sys.version_info[:2])
    folder = tmp_path / f"pytriton-py{version}"
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = folder / "lib" / f"python{version}" / "site-packages"
    installed = server_folder(triton_home) / "packages"
    shutil.copytree(installed, packages, symlinks=True, copy_function=linked, dirs_exist_ok=True)
    (packages / "_main_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "backends" / "python").mkdir(parents=True)
    for link in filter(Path.is_symlink, (server_folder(triton_home) / "backends" / "python").iterdir()):
        inside = link.resolve().relative_to(installed.resolve())
        (folder / "backends" / "python" / link.name).symlink_to(packages / inside)
    made = {"wheels": ["nvidia-pytriton==0.7.0", "numpy==1.26.4"], "python": sys.version}
    made["packages"] = sysconfig.get_path("purelib")
    (folder / "ready.json").write_text(json.dumps(made))
    binary, said = located(tmp_path)
    assert said == [] and binary.is_relative_to(folder)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing was installed beside it"
