"""The command that installs what is missing works where it is shown: in a checkout and beside a wheel."""

from __future__ import annotations

import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from opswright.core.install import PACKAGE, environment_hint, install_hint, missing_modules, not_installed

EXTRAS = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def pip_arguments(command: str) -> list[list[str]]:
    """The arguments of each `pip install` in a command line."""
    found = []
    for one in command.split(" && "):
        python, *rest = shlex.split(one)
        assert Path(python).name.startswith("python") and rest[:3] == ["-m", "pip", "install"], one
        found.append(rest[3:])
    return found


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_file_that_a_command_in_a_checkout_names_is_there(
    extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in (PACKAGE, tmp_path):
        monkeypatch.chdir(folder)
        for arguments in pip_arguments(install_hint(extra)):
            for option, value in pairwise(arguments):
                if option in ("-c", "-r"):
                    assert Path(value).is_file(), f"{value} from {folder}"
                if option == "-e":
                    assert (Path(value.removesuffix(f"[{extra}]")) / "pyproject.toml").is_file()


def test_in_the_checkout_itself_the_command_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGE)
    assert install_hint("ui").endswith("-m pip install -c constraints.txt -e '.[ui]'")


def test_from_a_wheel_the_command_names_the_package_and_the_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PACKAGE)
    package = tmp_path / "site-packages" / "opswright"
    package.mkdir(parents=True)
    (first, second) = pip_arguments(install_hint("train", package=package))
    assert first == ["-c", str(package / "constraints.txt"), "opswright[train]"]
    assert second == ["--no-deps", "-r", str(package / "requirements-nemo-cpu.txt")]


def test_a_folder_with_a_space_in_its_name_stays_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PACKAGE)
    package = tmp_path / "my packages" / "opswright"
    words = shlex.split(install_hint("ui", package=package))
    assert str(package / "constraints.txt") in words


def test_what_is_missing_is_found_without_loading_anything() -> None:
    assert missing_modules(["json", "no_such_module_at_all"]) == ["no_such_module_at_all"]
    assert not_installed(["json"], "ui") is None
    found = not_installed(["json", "no_such_module_at_all"], "ui")
    assert found is not None and found.level == "stop" and "no_such_module_at_all" in found.message
    assert install_hint("ui") in found.fix


@pytest.mark.parametrize("pins", [False, True])
def test_an_environment_of_its_own_takes_our_versions_only_where_it_has_none(
    pins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PACKAGE)
    said = environment_hint(tmp_path / "my venv", PACKAGE / "requirements-modelopt.txt", pins=pins)
    made, install = (shlex.split(one) for one in said.strip("`").split(" && "))
    assert made[1:] == ["-m", "venv", str(tmp_path / "my venv")]
    ours = [] if pins else ["-c", "constraints.txt"]
    pip = str(tmp_path / "my venv" / "bin" / "pip")
    assert install == [pip, "install", *ours, "-r", "requirements-modelopt.txt"]


def test_what_modelopt_needs_contradicts_our_versions() -> None:
    """So its environment is made without them; a hint with both could not be carried out."""
    ours = dict(
        line.split("==") for line in (PACKAGE / "constraints.txt").read_text().splitlines() if "==" in line
    )
    wanted = (PACKAGE / "requirements-modelopt.txt").read_text().splitlines()
    other = [line for line in wanted if line.startswith("transformers==")]
    assert other and other != [f"transformers=={ours['transformers']}"]
