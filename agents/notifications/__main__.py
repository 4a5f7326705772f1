"""`python -m opswright.agents.notifications --home FOLDER`: what the agent starts beside a run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ...core.errors import OpswrightError
from ...core.settings import load_settings
from ...core.workspace import Workspace
from ...skills import load_registry
from .background import dispatch


def main() -> int:
    """Deliver until nothing is left to deliver and no run goes on."""
    parser = argparse.ArgumentParser(prog="opswright.agents.notifications", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the workspace")
    asked = parser.parse_args()
    try:
        dispatch(Workspace(load_settings(home=asked.home)), load_registry(), lambda: False)
    except OpswrightError as error:
        print(f"{os.getpid()}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
