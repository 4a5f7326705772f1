"""The leaderboard in a browser, on reports that real runs of small models left."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.e2e

StartConsole = Callable[..., Any]


@pytest.fixture
def board(small_workspace: Path, start_console: StartConsole, page: Page) -> Page:
    """The page, with its lines."""
    page.goto(f"{start_console(small_workspace).url}/leaderboard")
    rows(page).first.wait_for()
    return page


def rows(page: Page) -> Locator:
    return page.locator("#leaderboard-table tbody tr")


def standings(folder: Path) -> list[dict[str, Any]]:
    """The same lines from the command line."""
    command = [sys.executable, "-m", "opswright.ui.cli", "leaderboard", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return list(json.loads(done.stdout))


def models(folder: Path) -> dict[str, str]:
    """The names of the two small models: the better one and the other."""
    names = [line["model"][:23] for line in standings(folder) if line["kind"] == "checkpoint"]
    return dict(zip(("linear", "keyword"), names, strict=True))


def test_the_lines_are_filtered_sorted_and_lead_to_the_ledger(board: Page, small_workspace: Path) -> None:
    from playwright.sync_api import expect

    lines = standings(small_workspace)
    expect(rows(board)).to_have_count(len(lines))
    first = rows(board).first
    expect(first).to_contain_text("83.3%")
    expect(first).to_contain_text("Measure <b>two</b> small models")
    expect(first.locator(".badge")).to_have_text("GO")
    expect(first.get_by_role("link", name="#")).to_have_attribute("href", f"/ledger?seq={lines[0]['record']}")

    board.get_by_role("button", name="exact_match").click()  # from falling to rising
    expect(rows(board).first).to_contain_text("majority")
    board.get_by_label("Kind", exact=True).click()
    board.get_by_role("option", name="baseline").click()
    expect(rows(board)).to_have_count(3)
    expect(rows(board).first).to_contain_text("majority")  # the order is kept
    board.get_by_label("Search", exact=True).fill("logreg")
    expect(rows(board)).to_have_count(1)
    board.get_by_label("Search", exact=True).fill("nobody has this name")
    expect(board.locator("#leaderboard-table")).to_contain_text("None of 5 lines match")


def test_two_are_compared_and_odd_items_are_shown_as_they_are(board: Page, small_workspace: Path) -> None:
    from playwright.sync_api import expect

    names = models(small_workspace)
    board.get_by_role("radio", name=f"{names['keyword']} as A").check()
    board.get_by_role("radio", name=f"{names['linear']} as B").check()
    sentence = board.locator(".compare .sentence")
    expect(sentence).to_contain_text("B is better: on 102 common items of clinc150 B won ")
    expect(sentence).to_contain_text("exact McNemar test")
    won, lost = map(int, re.findall(r"won (\d+) and lost (\d+)", sentence.inner_text())[0])
    items = board.locator("#leaderboard-items")
    expect(items).to_contain_text(f"{won + lost} items")

    board.get_by_label("Items that B").click()
    board.get_by_role("option", name="both wrong").click()
    board.get_by_label("Search items").fill("odd-")
    expect(items.locator("tbody tr")).to_have_count(2)
    for line in (small_workspace / "lines.txt").read_text().splitlines()[:2]:
        texts = items.locator("td.as-is").all_inner_texts()
        assert texts.count(line) == 2  # the text, and the keyword model's answer
    assert "<b>odd</b>" in texts
    assert items.locator("script, img, a, b, code").count() == 0
    assert "owned" not in board.title()


def test_a_choice_outlives_rows_that_were_sent_before_it_was_known(
    board: Page, small_workspace: Path
) -> None:
    from playwright.sync_api import expect

    names = models(small_workspace)
    first = board.get_by_role("radio", name=f"{names['keyword']} as A")

    def lose_choices(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        if len(body["data"]) == 2:  # A and B
            body["data"] = ["", ""]
        route.continue_(post_data=json.dumps(body))

    board.route("**/queue/join*", lose_choices)
    first.check()
    board.get_by_label("Search", exact=True).fill("logreg")
    expect(rows(board)).to_have_count(1)  # what was chosen is not among them
    board.get_by_label("Search", exact=True).fill("")
    expect(rows(board)).to_have_count(5)
    expect(first).to_be_checked()
    board.unroute("**/queue/join*")
    board.get_by_role("radio", name=f"{names['linear']} as B").check()
    expect(board.locator(".compare .sentence")).to_contain_text("B is better: on 102 common items ")


def test_two_that_are_chosen_at_once_are_compared(
    board: Page, small_workspace: Path, hold_first: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    names = models(small_workspace)
    let_go = hold_first("**/queue/join*")
    board.get_by_role("radio", name=f"{names['keyword']} as A").check()
    board.get_by_role("radio", name=f"{names['linear']} as B").check()
    let_go()
    expect(board.locator(".compare .sentence")).to_contain_text("B is better: on 102 common items ")


def test_each_download_holds_the_lines_that_are_shown(
    board: Page, small_workspace: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    board.get_by_label("Search", exact=True).fill("checkpoint")
    expect(rows(board)).to_have_count(2)
    saved = {}
    for name in ("CSV", "JSON", "Markdown", "HTML"):
        with board.expect_download() as download:
            board.get_by_role("button", name=f"Download {name}").click()
        saved[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[name])
    assert [path.name for path in saved.values()] == [
        f"leaderboard.{x}" for x in ("csv", "json", "md", "html")
    ]
    with saved["CSV"].open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == sorted(
            (line["value"] for line in standings(small_workspace) if line["kind"] == "checkpoint"),
            reverse=True,
        )
    assert len(json.loads(saved["JSON"].read_text())) == 2
    assert len(saved["Markdown"].read_text().splitlines()) == 4


def test_the_file_opens_offline_is_sorted_by_a_click_and_names_the_models(
    small_workspace: Path, page: Page
) -> None:
    from playwright.sync_api import expect

    target = small_workspace / "board.html"
    command = ["leaderboard", "--format", "html", "-o", str(target)]
    subprocess.run([sys.executable, "-m", "opswright.ui.cli", *command], cwd=small_workspace, check=True)
    page.context.set_offline(True)
    page.set_content(target.read_text())
    lines = page.locator("table.board tbody tr")
    expect(lines.first).to_contain_text("checkpoint:")
    page.get_by_role("button", name="model").click()
    page.get_by_role("button", name="model").click()
    expect(lines.first).to_contain_text("tfidf_svc")
    for name in models(small_workspace).values():
        expect(page.locator("figure.plot svg .name", has_text=name).first).to_be_visible()
    page.get_by_label("Search the table").fill("majority")
    expect(lines.filter(visible=True)).to_have_count(1)


def test_a_link_to_a_report_shows_its_lines_alone(board: Page, small_workspace: Path) -> None:
    from playwright.sync_api import expect

    expect(rows(board)).to_have_count(5)
    report = next((small_workspace / ".opswright" / "artifacts" / "eval-report").iterdir()).name
    address = board.url.partition("?")[0]
    board.goto(f"{address}?report=eval-report:{report}")
    expect(board.get_by_label("Search", exact=True)).to_have_value(f"eval-report:{report}")
    of_it = [line for line in standings(small_workspace) if line["report"].endswith(report)]
    assert 1 <= len(of_it) < 5
    expect(rows(board)).to_have_count(len(of_it))
