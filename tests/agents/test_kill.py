"""Killed at any instant, then resumed: the same end as an uninterrupted run, each side effect once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = 200


@pytest.mark.e2e
@pytest.mark.timeout(2400)
def test_a_run_killed_at_any_of_200_instants_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    sweep = Path(__file__).with_name("kill_sweep.py")
    ended = subprocess.run(
        [sys.executable, str(sweep), str(tmp_path / "sweep"), str(POINTS)],
        capture_output=True,
        text=True,
        timeout=2380,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    *points, last = [json.loads(line) for line in ended.stdout.splitlines()]
    whole = last["whole"]
    assert len(points) == POINTS and all(point["killed"] for point in points)
    for point in points:
        assert point["state"] is not None, (point, ended.stderr[-3000:])
        assert {**point["state"], "runs": 1} == whole, point
        assert point["state"]["board"] == point["state"]["jobs"] == 1 and point["state"]["faults"] == []
