"""ModelOpt in an environment of its own: with another transformers than ours."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

from ...core.errors import NeedsError
from ...core.install import PACKAGE, environment_python
from ...core.settings import load_settings

REQUIREMENTS = PACKAGE / "requirements-modelopt.txt"
_DECIDING = ("nvidia-modelopt", "torch", "transformers")


def interpreter() -> Path:
    """The Python that has ModelOpt; NeedsError, with what makes it, where there is none."""
    home = load_settings().build.modelopt
    return environment_python("ModelOpt", home, REQUIREMENTS, "OPSWRIGHT_BUILD__MODELOPT", pins=True)


def tools() -> dict[str, str]:
    """Versions in ModelOpt's environment of the packages that decide on weights; nothing is loaded."""
    folders = [str(path) for path in interpreter().parent.parent.glob("lib/python*/site-packages")]
    found = {one.name.lower(): one.version for one in distributions(path=folders)}
    return {name: found[name] for name in _DECIDING if name in found}


def missing() -> str:
    """Why ModelOpt cannot run here; empty when it can."""
    try:
        interpreter()
    except NeedsError as error:
        return str(error)
    return ""
