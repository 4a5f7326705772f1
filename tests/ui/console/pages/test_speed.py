"""The tab of speeds: what a stored benchmark report becomes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from opswright.core.artifact_refs import BenchmarkReportRef
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.evals.load.figures import level_figures
from opswright.evals.load.level import Level
from opswright.evals.load.streamed import RequestRecord
from opswright.ui.console.gradio_import import import_gradio

import_gradio()

from opswright.ui.console.console import Console  # noqa: E402
from opswright.ui.console.pages import speed  # noqa: E402

ODD = "<img src=x onerror=alert(1)>"


def measured(pause_ms: float, failed: int = 0) -> Sequence[RequestRecord]:
    """Forty whole answers of nine tokens, and some that failed."""
    return [
        RequestRecord(
            n / 10, n, error="HTTP 500" if n < failed else "", ttft_ms=pause_ms + n % 5,
            e2el_ms=pause_ms * 9 + n, itl_ms=(pause_ms,) * 8, tokens_out=9, counted_by="usage",
        )
        for n in range(40 + failed)
    ]  # fmt: skip


@pytest.fixture
def console(workspace: Workspace) -> Console:
    """The console of a workspace with two measured endpoints."""
    for model, server, pause_ms, failed in (("quick", "vllm", 2.0, 0), (ODD, f"gateway {ODD}", 30.0, 3)):
        records = list(measured(pause_ms, failed))
        facts: dict[str, Any] = {
            "model": model,
            "server": {"name": server},
            "prompts": "suite tickets",
            "workload": {"output_tokens": 9},
            "is_complete": True,
            "levels": [level_figures(Level(2, records, 5.0), {})],
        }
        with workspace.artifacts.staging() as folder:
            (folder / "report.json").write_text(model)
            workspace.artifacts.save(BenchmarkReportRef, folder, facts)
    return Console(Registry([]), workspace.settings)


def test_every_figure_stands_with_its_interval_and_names_are_shown_as_text(console: Console) -> None:
    rows, fault = speed.read_rows(console)
    assert fault == "" and {row.model for row in rows} == {"quick", ODD}
    for row in rows:
        for name in set(speed.FIGURES) - {"itl_p95_ms"}:
            low, high = row.intervals[name]
            assert low <= getattr(row, name) <= high
    shown = speed.show(rows, fault, speed.ALL, speed.ALL, "")
    assert "2 of 2 lines" in shown and "<img" not in shown and shown.count("&lt;img") >= 3
    assert '<td data-value="2" class="number">2</td>' in shown
    quick = next(row for row in rows if row.model == "quick")
    low, high = quick.intervals["ttft_p95_ms"]
    assert f'<b>{quick.ttft_p95_ms:.3g}</b><br><span class="soft">{low:.3g} to {high:.3g}</span>' in shown


def test_a_filter_keeps_the_lines_of_a_server_that_hold_every_word(console: Console) -> None:
    rows, _ = speed.read_rows(console)

    def kept(server: str = speed.ALL, load: str = speed.ALL, text: str = "") -> list[str]:
        return [row.model for row in speed.narrowed(rows, server, load, text)]

    assert (
        kept("vllm") == ["quick"] and kept(text="GATEWAY tickets") == [ODD] and kept("vllm", text=ODD) == []
    )
    assert "None of 2 lines match" in speed.show(rows, "", "vllm", speed.ALL, "gateway")


def test_an_empty_workspace_says_how_to_measure(workspace: Workspace) -> None:
    rows, fault = speed.read_rows(Console(Registry([]), workspace.settings))
    assert "opswright benchmark URL" in speed.show(rows, fault, speed.ALL, speed.ALL, "")
