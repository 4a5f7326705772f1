"""`python -m opswright.record.mirror --home FOLDER --follow RUN`: what the agent starts beside a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.settings import load_settings
from ...core.workspace import Workspace
from .background import follow


def main() -> None:
    """Follow a run until it ends."""
    parser = argparse.ArgumentParser(prog="opswright.record.mirror", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the workspace")
    parser.add_argument("--follow", required=True, metavar="RUN", help="the run")
    ask = parser.parse_args()
    follow(Workspace(load_settings(home=ask.home)), ask.follow)


if __name__ == "__main__":
    main()
