"""Breaks one check of the product at a time and runs the tests that should notice.

`python tests/mutants/run.py [NAME...]` tries every break of breaks.yaml (or those whose names hold a NAME),
prints a line for each, and ends with 1 when one survived. A break is a text that stands once in a file and
what it is replaced by. The tests run on a copy of the package, so the checkout is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from opswright.core.strict_yaml import read_yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("breaks.yaml")
_TEST_TIMEOUT_S = 120  # a break that makes a test hang is noticed then
_TIMEOUT_S = 900
_HEADING = [
    "# Promises",
    "",
    "What Opswright promises about authority, approval, gates, budgets, doing things once and keeping them,",
    "each with the file whose check keeps it and the tests that fail when it is taken out. `make mutants`",
    "takes out each in turn and fails when a test does not notice; this page is made from its list.",
    "",
    "| promise | kept in | held by |",
    "| --- | --- | --- |",
]
# pytest's exit codes when the tests themselves are at fault; a crash counts as noticed.
_NOT_RUN = (2, 3, 4, 5)


@dataclass(frozen=True)
class Break:
    """One check taken out: the promise it breaks, where, and the tests that hold it."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutated(self) -> str:
        """The file's text without the check; ValueError when the list is stale."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: found {text.count(self.old)} times in {self.file}: {self.old!r}")
        return text.replace(self.old, self.new)


def read_breaks() -> list[Break]:
    """Every break of the list."""
    found = read_yaml(LIST, "list of breaks").data
    return [Break(**{**one, "tests": tuple(one["tests"])}) for one in found]


def survives(one: Break) -> tuple[bool, float, str]:
    """Whether the tests pass on the broken package, in how many seconds, and the end of what they said."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="opswright-mutant-") as scratch:
        package = Path(scratch) / "opswright"
        package.mkdir()
        broken = Path(one.file).parts[0]
        for entry in ROOT.iterdir():
            if entry.name == broken:
                shutil.copytree(entry, package / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif not entry.name.startswith(".") and entry.name not in ("tests", "build"):
                (package / entry.name).symlink_to(entry)
        (package / one.file).write_text(one.mutated(), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        limit = f"--timeout={_TEST_TIMEOUT_S}"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", limit, *one.tests]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    seconds = time.monotonic() - started
    if ended.returncode in _NOT_RUN:
        raise RuntimeError(f"{one.name}: pytest ended with {ended.returncode}:\n{ended.stdout[-2000:]}")
    return (
        ended.returncode == 0,
        seconds,
        (ended.stdout.strip().splitlines() or [f"ended with {ended.returncode}"])[-1],
    )


def promises() -> str:
    """The page docs/promises.md: each promise with the check that keeps it and the tests that hold that."""
    rows = [
        f"| {one.promise} | `{one.file}` | {', '.join(f'`{Path(test).stem}`' for test in one.tests)} |"
        for one in read_breaks()
    ]
    return "\n".join([*_HEADING, *rows, ""])


def main(names: list[str]) -> int:
    """Try the breaks; 0 when every one was noticed. `--docs` writes docs/promises.md instead."""
    if names == ["--docs"]:
        (ROOT / "docs" / "promises.md").write_text(promises(), encoding="utf-8")
        return 0
    wanted = [one for one in read_breaks() if not names or any(name in one.name for name in names)]
    survivors = []
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for one, (survived, seconds, last) in zip(wanted, pool.map(survives, wanted), strict=True):
            print(
                f"{'SURVIVED' if survived else 'noticed ':9} {seconds:5.1f} s  {one.name}: {last}", flush=True
            )
            survivors += [one.name] if survived else []
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} breaks were noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
