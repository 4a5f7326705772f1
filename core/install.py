"""How to install what is missing: one command that works in a checkout and from an installed wheel."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from .contract import Finding
from .errors import NeedsError

PACKAGE = Path(__file__).resolve().parent.parent
_CPU_REQUIREMENTS = "requirements-nemo-cpu.txt"  # what [train] needs besides, without its GPU dependencies


def install_hint(*extras: str, package: Path = PACKAGE) -> str:
    """The command that installs the extras, in the versions Opswright was tried with.

    package: the package's folder. With a pyproject.toml in it, it is a checkout; else it was installed.
    """
    pip = f"{_python()} -m pip install"
    wanted = f"[{','.join(extras)}]"
    if (package / "pyproject.toml").is_file():
        what = f"-e {shlex.quote(_shown(package) + wanted)}"
    else:
        what = shlex.quote(f"opswright{wanted}")
    command = f"{pip} -c {shlex.quote(_shown(package / 'constraints.txt'))} {what}"
    if {"train", "all"} & set(extras) and "nemo" not in extras:
        command += f" && {pip} --no-deps -r {shlex.quote(_shown(package / _CPU_REQUIREMENTS))}"
    return command


def environment_hint(home: Path, requirements: Path, *, pins: bool = False) -> str:
    """The commands that make a virtual environment of its own for what cannot share ours.

    pins: the requirements name versions of their own, which ours would contradict.
    """
    made = f"{_python()} -m venv {shlex.quote(str(home))}"
    ours = [] if pins else ["-c", _shown(PACKAGE / "constraints.txt")]
    install = shlex.join([str(home / "bin" / "pip"), "install", *ours, "-r", _shown(requirements)])
    return f"`{made} && {install}`"


def environment_python(
    what: str, home: Path, requirements: Path, variable: str, *, pins: bool = False
) -> Path:
    """The Python of an environment of its own; NeedsError, with what makes it, where there is none.

    variable: names another place for it. pins: as of `environment_hint`.
    """
    found = home.absolute() / "bin" / "python"
    if not found.is_file():
        raise NeedsError(
            f"{what} is not installed: no {home}/bin/python. It has its own environment: "
            f"{environment_hint(home, requirements, pins=pins)}; another place is named by {variable}."
        )
    return found


def missing_modules(names: Iterable[str]) -> list[str]:
    """Those of the modules that cannot be imported here; none of them is loaded."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def not_installed(modules: Iterable[str], *extras: str) -> Finding | None:
    """The finding that stops a plan when modules are missing, with the command that installs them.

    Without extras they belong to another package, and only their names can be said.
    """
    if missing := missing_modules(modules):
        message = f"not installed: {', '.join(missing)}."
        how = install_hint(*extras) if extras else "the package that brings them."
        return Finding(level="stop", message=message, fix=f"Install: {how}")
    return None


def _python() -> str:
    """`python` where that is the interpreter that runs, else its path."""
    found = shutil.which("python")
    is_this = found is not None and Path(found).parent.samefile(Path(sys.executable).parent)
    return "python" if is_this else shlex.quote(sys.executable)


def _shown(path: Path) -> str:
    """A path as short as it can be typed in the folder one is in."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
