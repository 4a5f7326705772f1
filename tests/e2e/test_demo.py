"""The whole journey: `opswright demo` from an empty workspace, its report in a browser, and once more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Played:
    """A demo that was played, and where."""

    home: Path
    document: dict[str, Any]

    def opswright(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """One command on the demo's workspace."""
        return call(self.home, *argv)


def call(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opswright.ui.cli", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "OPSWRIGHT_HOME": str(home), "OPSWRIGHT_SERVING__GATEWAY_PORT": "0"},
        cwd=home.parent,
        timeout=850,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    home = tmp_path_factory.mktemp("demo") / "ws"
    ended = call(home, "demo", "--json")
    try:
        assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
        yield Played(home, json.loads(ended.stdout))
    finally:
        call(home, "stop")


def test_the_loop_ships_watches_refuses_retrains_and_promotes(demo: Played) -> None:
    found = demo.document
    assert found["ok"] and found["faults"] == []
    assert found["verdicts"] == {"v1": "GO", "v2_naive": "NO_GO", "v2": "GO"}
    v1, naive, v2 = (found["metrics"][name] for name in ("v1", "v2_naive", "v2"))
    assert v1["old"] >= 0.85 and v1["new"] < 0.05
    assert naive["old"] < 0.5 and naive["new"] > v1["new"] + 0.3
    assert v2["mixed"] >= 0.82 and v2["mixed"] >= v1["mixed"] + 0.08
    assert not found["drift"]["quiet"]["alarm"] and found["drift"]["alarm"]["alarm"]
    assert found["serving"]["requests"] >= 600 and found["serving"]["failed"] == 0
    assert found["audit"]["ok"] and found["audit"]["records"] > 60


def test_every_step_of_the_document_is_in_the_ledger(demo: Played) -> None:
    listed = json.loads(demo.opswright("audit", "list", "--json").stdout)
    by_number = {record["seq"]: record for record in listed}
    for step in demo.document["steps"]:
        record = by_number[step["ledger"]]
        assert (record["skill"], record["phase"]) == (step["skill"], step["status"])


def test_the_refused_model_was_never_served(demo: Played) -> None:
    records = json.loads(demo.opswright("audit", "list", "--json").stdout)
    refused = [s for s in demo.document["steps"] if s["id"].startswith("v2_naive.")]
    assert not [step for step in refused if step["skill"] in ("deploy", "promote")]
    served = [r for r in records if r["skill"] in ("deploy", "promote") and r["phase"] == "done"]
    assert len(served) == 3  # v1, v2 as a canary, v2 promoted


def test_the_record_verifies_and_a_damaged_one_does_not(demo: Played, tmp_path: Path) -> None:
    verified = demo.opswright("audit", "verify", "--json")
    assert verified.returncode == 0 and json.loads(verified.stdout)["ok"]
    copy = tmp_path / "ws"
    shutil.copytree(
        demo.home, copy, ignore=shutil.ignore_patterns("triton*", "locks", "*.sock"), symlinks=True
    )
    ledger = next((copy / "ledger").glob("*.jsonl"))
    lines = ledger.read_text().splitlines(keepends=True)
    lines[9] = lines[9].replace('"actor":"', '"actor":"not-', 1)
    ledger.write_text("".join(lines))
    damaged = call(copy, "audit", "verify")
    assert damaged.returncode == 7 and "record 10" in damaged.stdout + damaged.stderr


def test_the_report_opens_offline_in_a_browser(demo: Played) -> None:
    from playwright.sync_api import sync_playwright

    outside: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        page.on("request", lambda r: outside.append(r.url) if not r.url.startswith("file:") else None)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(f"file://{demo.document['report']}")
        assert page.locator("svg").count() >= 3
        assert "NO_GO" in page.locator("body").inner_text()
        assert page.locator("tr", has_text="promote").count() >= 1
        browser.close()
    assert outside == [] and errors == []


def test_a_second_time_reuses_what_is_unchanged_and_stop_leaves_no_process(demo: Played) -> None:
    again = demo.opswright("demo", "--json")
    assert again.returncode == 0, again.stderr[-3000:]
    document = json.loads(again.stdout)
    reused = {step["id"] for step in document["steps"] if step["status"] == "reused"}
    assert {"v1.data", "v1.model", "v1.engine"} <= reused
    assert document["seconds"] < demo.document["seconds"]
    assert demo.opswright("stop").returncode == 0
    left = [
        p.pid for p in psutil.process_iter(["cmdline"]) if str(demo.home) in " ".join(p.info["cmdline"] or [])
    ]
    assert left == []
