from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

from opswright.evals.leaderboard import LeaderboardRow
from opswright.ui.reports.leaderboard import page

MODEL = "checkpoint:" + "a" * 64
LINE = LeaderboardRow(
    model=MODEL, kind="checkpoint", suite="clinc150", suite_digest="d" * 64, metric="exact_match", value=0.9,
    low=0.88, high=0.92, n=4500, errors=2, slices={"old_domains": 0.95, "home": 0.9}, p50_ms=12.5,
    p95_ms=20.0, size_bytes=4_600_000, train_dataset="dataset:" + "e" * 64, date="2026-01-02T03:04:05+00:00",
    verdict="GO", report="eval-report:" + "f" * 64, run="20260102-030405-abcdef", record=7,
    goal="Ship <b>it</b>",
)  # fmt: skip
BASELINE = replace(
    LINE,
    model="tfidf_svc",
    kind="baseline",
    value=0.8,
    p50_ms=None,
    p95_ms=None,
    size_bytes=None,
    verdict=None,
)


def test_the_file_holds_every_line_with_its_figures_and_what_made_it() -> None:
    text = page([LINE, BASELINE])
    for shown in (
        "checkpoint:aaaaaaaaaaaa", "tfidf_svc", "90.0%", "88.0% to 92.0%", "4,500", "2 failed", "95.0%",
        "12.5", "4.6 MB", "eeeeeeeeeeee", "2026-01-02", "GO", "#7", "20260102-030405-abcdef",
    ):  # fmt: skip
        assert shown in text


def test_the_same_lines_give_the_same_bytes() -> None:
    assert page([LINE, BASELINE]) == page([LINE, BASELINE])
    assert page([LINE]) != page([BASELINE])


def test_the_file_asks_nobody_for_anything_and_runs_only_its_own_script() -> None:
    text = page([LINE])
    assert not re.search(r"(?:src=|href=|url\(|@import|https?:)", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_names_and_goals_are_text_in_the_file() -> None:
    text = page([replace(LINE, model="</title><script>alert(1)</script>")])
    assert "Ship &lt;b&gt;it&lt;/b&gt;" in text
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text


def test_an_empty_leaderboard_is_a_page_too() -> None:
    assert "No model has been measured yet" in page([])
