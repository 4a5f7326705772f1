"""A signal before a command has said its first word: the document that was asked for, and 130."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """\
import os, signal, sys

class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))

sys.meta_path.insert(0, Signals())
from opswright.ui.cli import main
main(sys.argv[3:])
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("imported", ["pydantic", "opswright.skills", "typer", "opswright.agents.agent"])
def test_a_signal_while_a_command_is_imported_leaves_its_document(
    tmp_path: Path, imported: str, number: str
) -> None:
    ended = opswright(tmp_path, imported, number, "agent", "what is live?", "--json")
    document = json.loads(ended.stdout)
    assert ended.returncode == 130 and document["outcome"] == "interrupted" and document["exit_code"] == 130
    assert "Traceback" not in ended.stderr and "interrupted" in ended.stderr


def test_a_signal_while_a_command_is_imported_leaves_the_last_line_of_its_stream(tmp_path: Path) -> None:
    ended = opswright(tmp_path, "typer", "SIGTERM", "agent", "what is live?", "--json", "--stream")
    (line,) = ended.stdout.splitlines()
    assert ended.returncode == 130 and json.loads(line)["outcome"] == "interrupted"


def opswright(folder: Path, imported: str, number: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that gets a signal as soon as it imports a module."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "OPSWRIGHT_HOME": str(folder / "ws"), "OPSWRIGHT_MLFLOW__MIRROR": "off"}
    return subprocess.run(
        [sys.executable, str(program), imported, number, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
