"""ModelOpt in an environment of its own: its range of transformers leaves out the one that ours needs."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import NeedsError
from ...core.install import PACKAGE, environment_hint
from ...core.settings import load_settings

REQUIREMENTS = PACKAGE / "requirements-modelopt.txt"


def interpreter() -> Path:
    """The Python that has ModelOpt; NeedsError, with what makes it, where there is none."""
    home = load_settings().build.modelopt
    found = home.absolute() / "bin" / "python"
    if not found.is_file():
        raise NeedsError(
            f"ModelOpt is not installed: no {home}/bin/python. It has its own environment: "
            f"{environment_hint(home, REQUIREMENTS)}; another place is named by OPSWRIGHT_BUILD__MODELOPT."
        )
    return found


def missing() -> str:
    """Why ModelOpt cannot run here; empty when it can."""
    try:
        interpreter()
    except NeedsError as error:
        return str(error)
    return ""
