"""The page "Drift" in a real browser, on reports that the real skill made of small traffic."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

StartConsole = Callable[..., Any]


def reports(folder: Path) -> list[Any]:
    """The drift reports of a workspace, newest first: the alarm, then the quiet one."""
    store = Workspace(load_settings(home=folder / ".opswright")).artifacts
    return [store.open(ref) for ref, _ in store.list("drift-report")]


def open_page(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("#drift-page h2")


def test_an_alarm_is_shown_with_its_tests_and_leads_to_a_proposal_in_the_chat(
    shown_console: Any, page: Page
) -> None:
    from playwright.sync_api import expect

    alarm, _ = reports(shown_console.folder)
    open_page(page, shown_console.url + "/drift")
    shown = page.locator("#drift-page")
    text = shown.inner_text()
    assert "drift alarm" in text and alarm.ref in text and alarm.facts["reference"][:20] in text
    tests = page.locator("#tests tr").all()[1:]
    assert len(tests) == len(alarm.facts["tests"]) == page.locator("#p-values rect").count()
    for row, test in zip(tests, alarm.read_json("report.json")["tests"], strict=True):
        words = row.inner_text()
        assert test["message"] in words and ("alarm" in words) is test["alarm"]
    images = shown.locator("img").all()
    assert len(images) == 2
    width = "async image => { await image.decode(); return image.naturalWidth; }"
    assert all(image.evaluate(width) > 100 for image in images)
    assert "answers were not compared: " in text  # the small bundle cannot be asked here

    shown.get_by_text("Propose a retraining in the chat").click()
    # Not by the address: the chat soon replaces it by the conversation's own.
    wish = re.compile(re.escape(f"/retrain alarm={alarm.ref} new_data="))
    expect(page.locator("#chat-page textarea")).to_have_value(wish)


def test_texts_and_answers_of_users_are_shown_as_they_are(shown_console: Any, page: Page) -> None:
    alarm, _ = reports(shown_console.folder)
    open_page(page, shown_console.url + "/drift")
    table = page.locator("#examples")
    examples = alarm.read_json("examples.json")["texts"]
    odd = [one["output"] for one in examples if "<img" in one["output"]]
    assert odd and odd[0] in table.inner_text() and "${1+1}" in odd[0] and "{{value}}" in odd[0]
    for one in examples:
        assert one["text"] in table.inner_text()
    assert table.locator("img, script, a").count() == 0
    assert "owned" not in page.title()


def test_a_quiet_report_is_told_calmly_and_is_found_by_its_address(shown_console: Any, page: Page) -> None:
    alarm, quiet = reports(shown_console.folder)
    url = shown_console.url
    open_page(page, f"{url}/drift?report={quiet.ref[:25]}")
    text = page.locator("#drift-page").inner_text()
    assert "no alarm" in text and "Nothing needs to be done" in text and quiet.ref in text
    assert page.get_by_text("Propose a retraining").count() == 0
    page.locator("#report input").click()
    page.get_by_role("option").filter(has_text=alarm.ref.digest[:12]).click()
    page.get_by_text("Propose a retraining").wait_for()


def test_a_report_that_was_altered_is_not_shown(
    small_workspace: Path, start_console: StartConsole, page: Page
) -> None:
    alarm = reports(small_workspace)[0]
    path = alarm.path / "examples.json"
    path.chmod(0o600)
    path.write_text(path.read_text().replace('"cosine"', '"kosine"'))
    page.goto(start_console(small_workspace).url + "/drift")
    page.locator("#drift-page .bad").filter(has_text=f"{alarm.ref.short} was altered").wait_for()
    assert page.locator("#examples").count() == 0


def test_an_empty_workspace_says_which_command_makes_a_report(
    tmp_path: Path, start_console: StartConsole, page: Page
) -> None:
    open_page(page, start_console(tmp_path).url + "/drift")
    text = page.locator("#drift-page").inner_text()
    assert "No drift report yet" in text and "/drift endpoint=shop" in text
