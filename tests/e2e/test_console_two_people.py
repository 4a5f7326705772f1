"""Two people with two roles, in two browsers and at the command line: who may consent, and who sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

SLOW = """\
goal: Take a while
steps:
  data: {skill: collect, with: {source: lines.txt}}
  model: {skill: practise, with: {data: "${data.dataset}", seconds: 900, steps: 3000}}
  live: {skill: announce, with: {model: "${model.checkpoint}", board: board.txt}, waive_gate: a test}
"""
PASSWORD = "correct horse battery"
POLICY = """\
roles:
  operator: {propose: [reads, writes, serves], approve: [writes], run: [reads, writes]}
  releaser: {propose: [reads, writes, serves], approve: [reads, writes, serves], run: [reads, writes, serves]}
approvals: {expire_hours: 2}
"""
DECIDE = """async (asked) => (await fetch("/call/chat/decide", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked),
})).json()"""


def opswright(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    from console_server import environment

    command = [sys.executable, "-m", "opswright.ui.cli", *words]
    return subprocess.run(
        command, cwd=folder, env=environment(), input=typed, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def folder(small_workspace: Path) -> Path:
    for name, role in (("ada", "operator"), ("ria", "releaser")):
        added = opswright(small_workspace, "users", "add", name, "--role", role, typed=f"{PASSWORD}\n")
        assert added.returncode == 0, added.stderr
    (small_workspace / "policy.yaml").write_text(POLICY)
    (small_workspace / "slow.yaml").write_text(SLOW)
    (small_workspace / "board.txt").unlink()
    return small_workspace


def enter(page: Page, url: str, name: str) -> None:
    page.goto(url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector(f"#person :text('{name}')")
    page.wait_for_selector("#chat-page [data-ready]")


def top_of(page: Page, url: str) -> tuple[int, ...]:
    """Where a page's first link and its bell are, and how large: nothing jumps from one page to the next."""
    page.goto(url)
    boxes = [page.locator(part).bounding_box() for part in (".ow-links a >> nth=0", "#person .bell svg")]
    return tuple(round(box[name]) for box in boxes if box for name in ("x", "y", "width", "height"))


def approvals(folder: Path, run: str) -> dict[str, Any]:
    told = opswright(folder, "--actor", "ria", "--role", "releaser", "approvals", "show", run, "--json")
    document: dict[str, Any] = json.loads(told.stdout)
    return document


@pytest.mark.timeout(600)
def test_one_proposes_the_other_approves_and_withdraws_and_both_see_it(
    page: Page, folder: Path, start_console: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    url = start_console(folder).url
    enter(page, url, "ada")
    page.locator("#chat-page textarea").fill("/plan slow.yaml")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card.waiting")
    run = page.locator(".card").get_attribute("data-run") or ""
    expect(page.locator(".card .makes")).to_contain_text("Checkpoint")
    assert page.locator("#person .bell").count() == 0, "it does not wait for who may not approve it"
    expect(page.locator(".card")).to_contain_text("Waits for the approval of somebody with the role releaser")
    expect(page.locator("[data-act=approve]")).to_be_disabled()
    asked = {"run": run, "plan": approvals(folder, run)["plan"], "approved": True}
    told = page.evaluate(DECIDE, asked)  # what the button would have sent
    assert "may not approve" in told["fault"]
    refused = opswright(
        folder, "--actor", "ada", "--role", "operator", "approvals", "approve", run, "--plan",
        approvals(folder, run)["plan"],
    )  # fmt: skip
    assert refused.returncode == 8 and approvals(folder, run)["approvals"] == []

    assert page.context.browser is not None
    hers = page.context.browser.new_context()
    other = hers.new_page()
    enter(other, url, "ria")
    other.wait_for_selector("#person .bell")
    tops = {top_of(other, url + path) for path in ("/", "/data", "/leaderboard", "/ledger")}
    assert len(tops) == 1, tops
    other.goto(url)
    other.click("#person .bell summary")
    other.click("#person .bell a")
    other.wait_for_selector("#chat-page [data-ready]")
    expect(other.locator("#chat-page textarea")).to_have_value(f"/show {run}")
    other.keyboard.press("Enter")
    other.wait_for_selector(".card.waiting")
    other.click("[data-act=approve]")
    for tab in (page, other):
        tab.wait_for_selector(".card.running")
        expect(tab.locator(".card .consent").last).to_contain_text("approved by ria (releaser)")
        expect(tab.locator(".card .consent").last).to_contain_text("more")  # counts for 2 h more
    (given,) = approvals(folder, run)["approvals"]
    assert given["by"] == "ria (releaser)" and not given["has_lapsed"]

    expect(page.locator("[data-act=withdraw]")).to_be_hidden()  # it is another's
    other.click("[data-act=withdraw]")
    (folder / "go").touch()  # the step that runs comes to its end; the next is not begun
    for tab in (page, other):
        tab.wait_for_selector(".card.failed, .card.denied")
    assert not (folder / "board.txt").exists()
    shown = approvals(folder, run)
    assert shown["approvals"] == [] and shown["denied_by"] == "ria (releaser)"
    hers.close()


@pytest.mark.timeout(600)
def test_an_open_card_says_when_what_was_to_be_approved_has_changed(
    page: Page, folder: Path, start_console: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    enter(page, start_console(folder).url, "ria")
    page.locator("#chat-page textarea").fill("/plan slow.yaml")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card.waiting")
    lines = (folder / "lines.txt").read_text()
    (folder / "lines.txt").write_text("others\n")
    page.wait_for_selector(".card [data-state=void]")
    expect(page.locator(".card .void")).to_contain_text("void: lines.txt changed since the plan was made")
    expect(page.locator(".card [data-act=approve]")).to_be_disabled()
    (folder / "lines.txt").write_text(lines)
    expect(page.locator(".card [data-state=void]")).to_have_count(0, timeout=60_000)
    expect(page.locator(".card [data-act=approve]")).to_be_enabled()
