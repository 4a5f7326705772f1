"""The page "Endpoints" in a real browser, on an endpoint that small steps deployed and asked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.releases import read_state
from opswright.serving.rollout import Rollout

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

StartConsole = Callable[..., Any]


def workspace_of(folder: Path) -> Workspace:
    return Workspace(load_settings(home=folder / ".opswright"))


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("#endpoints-page h2")


def cells(page: Page, table: str) -> list[list[str]]:
    """The rows of a table, without its head."""
    rows = page.locator(f"#{table} tr").all()[1:]
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]


def test_a_reviewer_compares_the_canary_with_stable_and_sees_who_put_it_there(
    shown_console: Any, page: Page
) -> None:
    state = read_state(workspace_of(shown_console.folder), "support")
    assert state.stable is not None and state.canary is not None
    open_page(page, shown_console.url + "/endpoints")

    releases = cells(page, "releases")
    assert [row[:3] for row in releases] == [
        [state.stable.id, "stable", "75 %"],
        [state.canary.id, "canary", "25 %"],
    ]
    assert [row[3] for row in releases] == [state.stable.bundle.short, state.canary.bundle.short]
    assert "No gateway is running" in page.locator("#endpoints-page").inner_text()

    log = shown_console.folder / ".opswright" / "endpoints" / "support" / "traffic-000001.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for release, total in zip((state.stable, state.canary), cells(page, "totals"), strict=True):
        mine = [row for row in rows if row["release"] == release.id]
        counts = [len(mine), sum(r["status"] == "error" for r in mine), 0]
        counts.append(sum(r["status"] == "blocked" for r in mine))
        assert total[0] == release.id and [int(re.split(r"\s", cell)[0]) for cell in total[1:5]] == counts
    assert page.locator("#endpoints-page figure svg").count() == 4
    assert page.locator("#endpoints-page figure svg").first.bounding_box()["height"] > 100  # type: ignore[index]

    newest = cells(page, "history")[0]
    assert newest[1] == f"canary {state.canary.id}" and newest[4] == "ada"
    page.locator("#history a").first.click()
    page.wait_for_url("**/ledger?seq=" + newest[5].removeprefix("#"))


def test_what_users_wrote_is_shown_as_they_wrote_it_and_never_obeyed(shown_console: Any, page: Page) -> None:
    open_page(page, shown_console.url + "/endpoints")
    page.locator("#endpoints-page summary").click()
    shown = page.locator("#latest").inner_text()
    for line in (shown_console.folder / "lines.txt").read_text().splitlines():
        assert line in shown
    assert page.locator("#latest").locator("script, img, a, b, strong").count() == 0
    assert "owned" not in page.title()


def test_a_window_without_traffic_says_when_the_last_request_was_and_a_time_what_was_live_then(
    small_workspace: Path, start_console: StartConsole, page: Page
) -> None:
    workspace = workspace_of(small_workspace)
    state = read_state(workspace, "support")
    log = small_workspace / ".opswright" / "endpoints" / "support" / "traffic-000001.jsonl"
    log.write_text(re.sub(r'"time":"\d{4}-\d\d-', '"time":"2026-01-', log.read_text()))
    server = start_console(small_workspace)
    open_page(page, server.url + "/endpoints")
    page.get_by_label("Last hour").check()
    page.get_by_text("No requests in the last hour. The last one was answered at 2026-01").wait_for()
    page.get_by_label("All").check()
    page.locator("#totals").wait_for()

    page.locator("#moment-time input, #moment-time textarea").fill(state.changes[0].at)
    page.locator("#moment-look").click()
    told = page.locator("#moment-page")
    told.get_by_text("100 %").wait_for()
    assert "ada" in told.inner_text() and state.changes[0].release in told.locator("table").inner_text()
    assert state.changes[1].release not in told.locator("table").inner_text()
    page.locator("#moment-time input, #moment-time textarea").fill("<b>noon</b>")
    page.locator("#moment-look").click()
    told.get_by_text("invalid time '<b>noon</b>'").wait_for()


def test_the_window_that_was_chosen_last_is_shown_however_fast_it_was_chosen(
    small_workspace: Path, start_console: StartConsole, page: Page, hold_first: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    log = small_workspace / ".opswright" / "endpoints" / "support" / "traffic-000001.jsonl"
    log.write_text(re.sub(r'"time":"\d{4}-\d\d-', '"time":"2026-01-', log.read_text()))
    open_page(page, start_console(small_workspace).url + "/endpoints")
    let_go = hold_first("**/gradio_api/run/*")
    page.get_by_label("Last hour").check()
    page.get_by_label("Last day").check()
    let_go()
    last_day = page.get_by_text("No requests in the last day")
    expect(last_day).to_be_visible()
    page.wait_for_timeout(1000)  # the answer to the first choice, which was held, comes after it
    expect(last_day).to_be_visible()
    expect(page.get_by_text("No requests in the last hour")).to_have_count(0)


def test_a_rollback_made_elsewhere_is_seen_on_refresh(
    small_workspace: Path, start_console: StartConsole, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import expect

    open_page(page, start_console(small_workspace).url + "/endpoints?endpoint=support&window=Last+day")
    expect(page.get_by_label("Last day")).to_be_checked()
    monkeypatch.setattr(sys, "path", [str(Path(__file__).with_name("plugin")), *sys.path])
    workspace = workspace_of(small_workspace)
    Rollout(workspace, "support", import_module("small_traffic").SmallFleet(workspace)).rollback()
    page.locator("#refresh").click()
    page.locator("#history").get_by_text("withdrawn").wait_for()
    assert [row[1:3] for row in cells(page, "releases")] == [["stable", "100 %"]]


def test_an_empty_workspace_says_how_an_endpoint_comes_to_be(
    tmp_path: Path, start_console: StartConsole, page: Page
) -> None:
    open_page(page, start_console(tmp_path).url + "/endpoints")
    assert "Nothing is deployed yet" in page.locator("#endpoints-page").inner_text()
    page.locator("#moment-look").click()
    page.locator("#moment-page").get_by_text("Nothing is deployed yet").wait_for()
