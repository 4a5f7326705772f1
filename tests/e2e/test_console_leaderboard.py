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

from opswright.core.artifact_refs import BenchmarkReportRef
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.evals.load.figures import level_figures
from opswright.evals.load.level import Level
from opswright.evals.load.streamed import RequestRecord

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.e2e

LATE_ENDS = """const real = window.fetch, sleep = (ms) => new Promise((done) => setTimeout(done, ms));
window.fetch = async (...asked) => {
  const answer = await real(...asked);
  if (!String(asked[0].url || asked[0]).includes("queue/data")) return answer;
  const late = new TransformStream({ async transform(chunk, out) {
    if (new TextDecoder().decode(chunk).includes("close_stream")) await sleep(3000);
    out.enqueue(chunk);
  } });
  return new Response(answer.body.pipeThrough(late), { status: answer.status, headers: answer.headers });
}"""


@pytest.fixture
def board(shown_console: Any, page: Page) -> Page:
    """The page, with its lines."""
    page.goto(f"{shown_console.url}/leaderboard")
    rows(page).first.wait_for()
    return page


def rows(page: Page) -> Locator:
    return page.locator("#leaderboard-table tbody tr")


@pytest.fixture(scope="module")
def standings(shown_console: Any) -> list[dict[str, Any]]:
    """The same lines from the command line."""
    command = [sys.executable, "-m", "opswright.ui.cli", "leaderboard", "--format", "json"]
    done = subprocess.run(
        command, cwd=shown_console.folder, capture_output=True, text=True, timeout=240, check=True
    )
    return list(json.loads(done.stdout))


@pytest.fixture
def models(standings: list[dict[str, Any]]) -> dict[str, str]:
    """The names of the two small models: the better one and the other."""
    names = [line["model"][:23] for line in standings if line["kind"] == "checkpoint"]
    return dict(zip(("linear", "keyword"), names, strict=True))


def test_the_lines_are_filtered_sorted_and_lead_to_the_ledger(
    board: Page, standings: list[dict[str, Any]]
) -> None:
    from playwright.sync_api import expect

    expect(rows(board)).to_have_count(len(standings))
    first = rows(board).first
    expect(first).to_contain_text("83.3%")
    expect(first).to_contain_text("Measure <b>two</b> small models")
    expect(first.locator(".badge")).to_have_text("GO")
    expect(first.get_by_role("link", name="#")).to_have_attribute(
        "href", f"/ledger?seq={standings[0]['record']}"
    )

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


def choose_both(board: Page, names: dict[str, str]) -> None:
    """The small models as A and B; their items are there."""
    board.get_by_role("radio", name=f"{names['keyword']} as A").check()
    board.get_by_role("radio", name=f"{names['linear']} as B").check()
    board.locator("#leaderboard-items tbody tr").first.wait_for()


def test_what_is_typed_while_the_last_answer_comes_is_answered_too(
    board: Page, models: dict[str, str]
) -> None:
    """A server that streams its answers may tell the end of the stream after the next question was asked."""
    from playwright.sync_api import expect

    board.add_init_script(LATE_ENDS)
    board.reload()
    choose_both(board, models)
    board.get_by_label("Items that B").click()
    board.get_by_role("option", name="both wrong").click()
    items = board.locator("#leaderboard-items tbody tr")
    expect(items).to_have_count(17)
    board.get_by_label("Search items").fill("odd-")
    expect(items).to_have_count(2)


def test_items_are_those_of_the_pair_that_was_chosen_last_whatever_is_answered_first(
    board: Page, models: dict[str, str], hold_answer: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    choose_both(board, models)
    held = hold_answer("/gradio_api/run/", '"both wrong"')
    board.get_by_label("Items that B").click()
    board.get_by_role("option", name="both wrong").click()
    held.wait()
    board.get_by_role("radio", name="majority").last.check()
    board.wait_for_timeout(1000)  # where nobody waits for the first answer, the second is there by now
    held.let_go()
    sentence = board.locator(".compare .sentence")
    expect(sentence).to_contain_text("No difference is shown")
    won, lost = map(int, re.findall(r"won (\d+) and lost (\d+)", sentence.inner_text())[0])
    items = board.locator("#leaderboard-items")
    expect(items).to_contain_text(f"{won + lost} items")
    board.wait_for_timeout(1000)  # nothing older comes after it
    expect(items).to_contain_text(f"{won + lost} items")


def test_two_are_compared_and_odd_items_are_shown_as_they_are(
    board: Page, models: dict[str, str], shown_console: Any
) -> None:
    from playwright.sync_api import expect

    board.get_by_role("radio", name=f"{models['keyword']} as A").check()
    board.get_by_role("radio", name=f"{models['linear']} as B").check()
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
    for line in (shown_console.folder / "lines.txt").read_text().splitlines()[:2]:
        texts = items.locator("td.as-is").all_inner_texts()
        assert texts.count(line) == 2  # the text, and the keyword model's answer
    assert "<b>odd</b>" in texts
    assert items.locator("script, img, a, b, code").count() == 0
    assert "owned" not in board.title()


def test_a_choice_outlives_rows_that_were_sent_before_it_was_known(
    board: Page, models: dict[str, str]
) -> None:
    from playwright.sync_api import expect

    first = board.get_by_role("radio", name=f"{models['keyword']} as A")

    def lose_choices(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        if len(body["data"]) == 2:  # A and B
            body["data"] = ["", ""]
        route.continue_(post_data=json.dumps(body))

    board.route("**/gradio_api/run/*", lose_choices)
    first.check()
    board.get_by_label("Search", exact=True).fill("logreg")
    expect(rows(board)).to_have_count(1)  # what was chosen is not among them
    board.get_by_label("Search", exact=True).fill("")
    expect(rows(board)).to_have_count(5)
    expect(first).to_be_checked()
    board.unroute("**/gradio_api/run/*")
    board.get_by_role("radio", name=f"{models['linear']} as B").check()
    expect(board.locator(".compare .sentence")).to_contain_text("B is better: on 102 common items ")


def test_speeds_are_sorted_narrowed_and_read_anew(board: Page, shown_console: Any) -> None:
    from playwright.sync_api import expect

    board.get_by_role("tab", name="Speed").click()
    speeds = board.locator("#leaderboard-speed")
    expect(speeds).to_contain_text("Nothing was measured under load yet")
    store = Workspace(load_settings(home=shown_console.folder / ".opswright")).artifacts
    for model, ms in (("quick", 20.0), ("slow", 90.0)):
        answers = [RequestRecord(0.0, n, ttft_ms=ms + n, e2el_ms=ms * 9, tokens_out=9) for n in range(30)]
        levels = [level_figures(Level(2, answers, ms / 10), {})]
        facts: dict[str, Any] = {"model": model, "server": {"name": "vllm"}, "prompts": "suite a"}
        with store.staging() as folder:
            (folder / "report.json").write_text(model)
            facts |= {"levels": levels, "workload": {"output_tokens": 9}, "is_complete": True}
            store.save(BenchmarkReportRef, folder, facts)
    board.get_by_role("button", name="Refresh").click()
    rows = speeds.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("quick")
    board.get_by_role("button", name="tokens/s").dblclick()  # falling, then rising
    expect(rows.first).to_contain_text("slow")
    board.get_by_label("Search speeds").fill("quick vllm")
    expect(rows).to_have_count(1)


def test_two_that_are_chosen_at_once_are_compared(
    board: Page, models: dict[str, str], hold_first: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    let_go = hold_first("**/gradio_api/run/*")
    board.get_by_role("radio", name=f"{models['keyword']} as A").check()
    board.get_by_role("radio", name=f"{models['linear']} as B").check()
    let_go()
    expect(board.locator(".compare .sentence")).to_contain_text("B is better: on 102 common items ")


def test_each_download_holds_the_lines_that_are_shown(
    board: Page, standings: list[dict[str, Any]], shown_console: Any, tmp_path: Path
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
            (line["value"] for line in standings if line["kind"] == "checkpoint"),
            reverse=True,
        )
    assert len(json.loads(saved["JSON"].read_text())) == 2
    assert len(saved["Markdown"].read_text().splitlines()) == 4


def test_the_file_opens_offline_is_sorted_by_a_click_and_names_the_models(
    page: Page, models: dict[str, str], shown_console: Any
) -> None:
    from playwright.sync_api import expect

    target = shown_console.folder / "board.html"
    command = ["leaderboard", "--format", "html", "-o", str(target)]
    subprocess.run([sys.executable, "-m", "opswright.ui.cli", *command], cwd=shown_console.folder, check=True)
    page.context.set_offline(True)
    page.set_content(target.read_text())
    lines = page.locator("table.board tbody tr")
    expect(lines.first).to_contain_text("checkpoint:")
    page.get_by_role("button", name="model").click()
    page.get_by_role("button", name="model").click()
    expect(lines.first).to_contain_text("tfidf_svc")
    for name in models.values():
        expect(page.locator("figure.plot svg .name", has_text=name).first).to_be_visible()
    page.get_by_label("Search the table").fill("majority")
    expect(lines.filter(visible=True)).to_have_count(1)


def test_a_link_to_a_report_shows_its_lines_alone(
    board: Page, standings: list[dict[str, Any]], shown_console: Any
) -> None:
    from playwright.sync_api import expect

    expect(rows(board)).to_have_count(5)
    report = next((shown_console.folder / ".opswright" / "artifacts" / "eval-report").iterdir()).name
    address = board.url.partition("?")[0]
    board.goto(f"{address}?report=eval-report:{report}")
    expect(board.get_by_label("Search", exact=True)).to_have_value(f"eval-report:{report}")
    of_it = [line for line in standings if line["report"].endswith(report)]
    assert 1 <= len(of_it) < 5
    expect(rows(board)).to_have_count(len(of_it))
