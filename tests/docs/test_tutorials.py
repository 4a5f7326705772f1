"""The tutorials: a newcomer who types what stands there gets what stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import opswright

ROOT = Path(opswright.__file__).parent
TUTORIALS = [*sorted((ROOT / "docs" / "tutorials").glob("*.md")), ROOT / "docs" / "extending.md"]
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDED = "-- box {} ended --"


@dataclass(frozen=True)
class Box:
    """A fenced box: commands to type (sh), a file (named behind the language), or what is shown (text)."""

    language: str
    note: str
    text: str


def boxes(page: Path) -> list[Box]:
    return [Box(*found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def plain(text: str) -> str:
    """Text without the frames, colours and spaces that a terminal's width decides."""
    return re.sub(r"[^\w.:/(),=%-]+", " ", text)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: str(page.stem))
def test_every_box_says_whether_it_is_typed_kept_or_shown(page: Path) -> None:
    found = boxes(page)
    assert len(found) * 2 == page.read_text(encoding="utf-8").count("\n```")
    assert [box for box in found if box.language == "sh" and box.note not in ("", "minutes")] == []
    assert any(box.language == "sh" and not box.note for box in found)


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: str(page.stem))
def test_what_a_tutorial_says_to_type_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    script, shown, number = ["set -e"], dict[int, list[str]](), 0
    for box in boxes(page):
        if "." in box.note:
            (tmp_path / box.note).parent.mkdir(exist_ok=True)
            (tmp_path / box.note).write_text(box.text, encoding="utf-8")
        elif box.language == "sh" and not box.note:
            number += 1
            script += [box.text, f'echo "{ENDED.format(number)}"']
        elif box.language == "text":
            shown[number] = box.text.strip().splitlines()
    (tmp_path / "opswright").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m opswright.ui.cli "$@"\n')
    (tmp_path / "opswright").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
        "OPSWRIGHT_MLFLOW__MIRROR": "off",
    }
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    at = 0
    for one in range(1, number + 1):
        said, _, _ = ran.stdout[at:].partition(ENDED.format(one))
        at += len(said) + len(ENDED.format(one))
        for line in shown.get(one, ()):
            for part in line.split("..."):
                assert plain(part).strip() in plain(said), f"box {one} shows no {part.strip()!r}:\n{said}"
