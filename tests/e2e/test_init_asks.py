"""`opswright init` at a terminal: it shows, asks, takes corrections, and writes when a person says yes."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.e2e

WHICH, WRITE = "What are they?", "Write a project of this?"


def talk(folder: Path, words: list[str], answers: list[tuple[str, str]]) -> tuple[str, int]:
    """What a command shows at a terminal when each question gets its answer, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["COLUMNS"] = "300"  # so that no sentence is broken
        os.execvp(sys.executable, [sys.executable, "-m", "opswright.ui.cli", *words])
    shown, seen, waiting = b"", 0, list(answers)
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the command ended
            break
        shown += piece
        if waiting and waiting[0][0].encode() in shown[seen:]:
            seen = len(shown)
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    os.close(terminal)
    assert waiting == [], shown.decode()[-2000:]
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    rows = [{"mail": f"where is parcel {i}?", "reply": f"shelf {i % 9}", "by": "bo"} for i in range(120)]
    (tmp_path / "mails.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_columns_nobody_can_tell_are_asked_for_and_corrections_are_taken(replies: Path) -> None:
    shown, code = talk(
        replies,
        ["init", "mails.jsonl"],
        [
            (WHICH, "user=mail target=replly"),
            (WHICH, "user=mail target=reply"),
            (WRITE, "task=genrate"),
            (WRITE, "task=generate tags=by"),
            (WRITE, "yes"),
        ],
    )
    assert code == 0, shown
    assert "Did you mean 'reply'" in shown and "Did you mean 'generate'" in shown and "shelf 0" in shown
    made = yaml.safe_load((replies / "plans" / "ship.yaml").read_text())["steps"]["data"]["with"]
    assert made["task"] == "generate" and made["columns"]["tags"] == {"by": "by"}


def test_a_no_writes_nothing(replies: Path) -> None:
    words = ["init", "mails.jsonl", "--column", "user=mail", "--column", "target=reply"]
    shown, code = talk(replies, words, [(WRITE, "no")])
    assert code == 2 and "nothing was written" in shown
    assert [path.name for path in replies.iterdir()] == ["mails.jsonl"]
