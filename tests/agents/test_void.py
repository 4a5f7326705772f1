"""What people are told of changed inputs: a file that looks the same and is not is read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from opswright.agents import void
from opswright.agents.planner import Ask
from opswright.core import input_digest
from opswright.record.index import LedgerIndex


def reasons(made: Any, run: str) -> list[str]:
    state = LedgerIndex.of(made.workspace).run_state(run)
    assert state is not None
    return void.void_reasons(made.workspace, state)


def test_a_file_with_its_old_size_and_time_and_other_bytes_is_seen_to_have_changed(
    agent: Any, plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(void, "_SETTLED_NS", -(10**18))  # remember digests at once
    made = agent()
    run = made.start(Ask("plan_file", str(plan_file))).run
    assert reasons(made, run) == []
    lines = plan_file.parent / "lines.txt"
    before, text = lines.stat(), lines.read_text()
    lines.write_text(text[::-1])
    os.utime(lines, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lines.stat().st_mtime_ns == before.st_mtime_ns and lines.stat().st_size == before.st_size
    assert any("lines.txt changed" in one for one in reasons(made, run))


def test_an_input_is_not_read_again_while_nothing_says_that_it_changed(
    agent: Any, plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(void, "_SETTLED_NS", -(10**18))
    made = agent()
    run = made.start(Ask("plan_file", str(plan_file))).run
    reasons(made, run)
    read = list[Path]()
    digest = input_digest.sha256_input

    def noted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(void, "sha256_input", noted)
    assert reasons(made, run) == [] and read == []
