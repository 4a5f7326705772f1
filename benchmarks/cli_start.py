"""How long `opswright --help` takes, beside an empty Python and an import of Typer, in one run.

Runs anywhere in half a minute: `python benchmarks/cli_start.py [--runs 15]`. Goal: median under 0.4 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer, pydantic": [sys.executable, "-c", "import typer, pydantic"],
    "opswright --help": [sys.executable, "-m", "opswright.ui.cli", "--help"],
    "opswright curate --help": [sys.executable, "-m", "opswright.ui.cli", "curate", "--help"],
}


# As installed: Python keeps compiled modules unless it was told not to.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return time.perf_counter() - started


def main() -> None:
    """Print the median and spread of each, taken in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="calls of each (default 15)")
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        seconds(command)  # the first call compiles
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:26} median {median:.3f} s  min {min(values):.3f}  max {max(values):.3f}")
    ratio = statistics.median(times["opswright --help"]) / statistics.median(times["import typer, pydantic"])
    print(f"ratio opswright --help / import typer, pydantic: {ratio:.2f}")


if __name__ == "__main__":
    main()
