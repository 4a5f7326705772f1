"""The ledger's page in a real browser: filters, one record, verification, export."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

StartConsole = Callable[..., Any]


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / ".opswright" / "ledger").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def open_ledger(page: Page, url: str, query: str = "") -> None:
    page.goto(f"{url}/ledger{query}")
    page.wait_for_selector("#ledger-table tbody tr")


def expect_numbers(page: Page, wanted: list[int]) -> None:
    """The records that the table comes to show, from its top."""
    from playwright.sync_api import expect

    expect(page.locator("#ledger-table tbody td:first-child")).to_have_text([str(n) for n in wanted])


def choose(page: Page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=value, exact=True).click()


def expect_count(page: Page, pattern: str) -> None:
    page.wait_for_function(
        "([pattern]) => new RegExp(pattern).test(document.querySelector('#ledger-count').innerText)",
        arg=[pattern],
    )


def test_a_record_is_found_by_filters_opened_followed_and_taken_away(
    page: Page, shown_console: Any, tmp_path: Path
) -> None:
    records = lines(shown_console.folder)
    open_ledger(page, shown_console.url)
    expect_numbers(page, [record["seq"] for record in records][::-1][:50])

    run = records[0]["run"]
    wanted = [r["seq"] for r in records if r["run"] == run and r["phase"] == "done"]
    choose(page, "run", run)
    choose(page, "phase", "done")
    expect_count(page, f"of {len(wanted)} records")
    expect_numbers(page, wanted[::-1])

    page.locator(f"#ledger-table tr[data-seq='{wanted[0]}']").click()
    page.wait_for_selector(f"#ledger-record h2:has-text('Record {wanted[0]}')")
    shown = page.locator("#ledger-record").inner_text()
    record = records[wanted[0] - 1]
    assert record["hash"] in shown and record["result"] in shown and record["prev"] in shown
    assert json.loads(page.locator("#ledger-record pre").inner_text()) == record
    page.locator("#ledger-record .ow-steps a").last.click()
    page.wait_for_selector(f"#ledger-record h2:has-text('Record {wanted[0] + 1}')")

    page.wait_for_url(re.compile(rf"/ledger\?run={run}&phase=done&seq={wanted[0] + 1}$"))
    page.reload()
    page.wait_for_selector(f"#ledger-record h2:has-text('Record {wanted[0] + 1}')")
    expect_count(page, f"of {len(wanted)} records")
    expect_numbers(page, wanted[::-1])

    with page.expect_download() as download:
        page.get_by_role("link", name="JSONL").click()
    download.value.save_as(tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        records[seq - 1] for seq in wanted
    ]
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == f"ledger-{run}-done.csv"
    download.value.save_as(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [int(row["seq"]) for row in csv.DictReader(file)] == wanted


def test_the_filters_that_were_chosen_last_count_however_fast_they_were_chosen(
    page: Page, shown_console: Any, hold_first: Callable[..., Any]
) -> None:
    records = lines(shown_console.folder)
    run = records[0]["run"]
    wanted = [r["seq"] for r in records if r["run"] == run and r["phase"] == "done"]
    open_ledger(page, shown_console.url)
    let_go = hold_first("**/gradio_api/run/*")
    choose(page, "run", run)
    choose(page, "phase", "done")
    page.wait_for_timeout(1000)  # where nothing waits for the first choice, the second is answered by now
    let_go()
    expect_numbers(page, wanted[::-1])
    page.wait_for_timeout(1000)  # nothing older comes after it
    expect_numbers(page, wanted[::-1])


def test_an_intact_record_says_what_was_checked_and_a_changed_byte_is_found(
    page: Page, small_workspace: Path, start_console: StartConsole
) -> None:
    console = start_console(small_workspace)
    open_ledger(page, console.url)
    page.locator("#ledger-verify").click()
    page.wait_for_selector("#ledger-audit :text('Intact.')")
    audit = page.locator("#ledger-audit").inner_text()
    assert f"{len(lines(small_workspace))} records" in audit and "artifacts" in audit
    assert "not checked: none was given" in audit

    path = next((small_workspace / ".opswright" / "ledger").glob("*.jsonl"))
    whole = path.read_bytes().splitlines(keepends=True)
    place = len(whole) - 4  # on the first page of the table
    assert b'"actor":"ada"' in whole[place]
    whole[place] = whole[place].replace(b'"actor":"ada"', b'"actor":"adb"')
    path.write_bytes(b"".join(whole))
    page.locator("#ledger-verify").click()
    page.wait_for_selector("#ledger-audit :text('NOT intact.')")
    said = page.locator("#ledger-audit p[role=alert]")
    assert f"The first bad record is record {place + 1}." in said.inner_text()
    red = page.evaluate(
        "([part]) => getComputedStyle(document.querySelector(part)).color", ["#ledger-audit p.bad strong"]
    )
    assert red == "rgb(179, 55, 47)"
    assert "was altered: its hash does not match" in page.locator("#ledger-audit ul").inner_text()
    said.get_by_role("link").click()
    page.wait_for_selector(f"#ledger-record h2:has-text('Record {place + 1}')")
    assert "adb" in page.locator("#ledger-record").inner_text()
    assert page.locator("#ledger-table tr.broken").get_attribute("data-seq") == str(place + 1)


def test_an_empty_workspace_says_what_to_do_and_a_wrong_filter_what_is_wrong(
    page: Page, tmp_path: Path, start_console: StartConsole
) -> None:
    from playwright.sync_api import expect

    console = start_console(tmp_path)
    table, record = page.locator("#ledger-table"), page.locator("#ledger-record")
    page.goto(f"{console.url}/ledger")
    expect(table).to_contain_text("opswright demo")
    expect(table.locator("tr[data-seq]")).to_have_count(0)
    page.goto(f"{console.url}/ledger?since=yesterday&seq=7")
    expect(table).to_contain_text("invalid time")
    expect(record).to_contain_text("Record 7 not found")
