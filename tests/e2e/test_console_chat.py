"""The chat in a real browser, on a real console, with runs that really run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.e2e

StartConsole = Callable[..., Any]
SLOW = """\
goal: Take a while
steps:
  data: {skill: collect, with: {source: lines.txt}}
  model: {skill: practise, with: {data: "${data.dataset}", seconds: 900, steps: 3000}}
  live: {skill: announce, with: {model: "${model.checkpoint}", board: board.txt}, waive_gate: a test}
"""


@pytest.fixture
def folder(small_workspace: Path) -> Path:
    return with_slow_plan(small_workspace)


@pytest.fixture
def chat(fresh_chat: Any) -> Any:
    """The file's console, for a test that needs none of its own: `.url` and `.folder`."""
    with_slow_plan(fresh_chat.folder)
    return fresh_chat


def with_slow_plan(folder: Path) -> Path:
    (folder / "slow.yaml").write_text(SLOW)
    (folder / "board.txt").unlink()
    return folder


def open_chat(page: Page, url: str) -> Locator:
    """The input box of a chat page that is ready."""
    page.goto(url)
    page.wait_for_selector("#chat-page [data-ready]")
    return page.locator("#chat-page textarea")


def say(page: Page, text: str) -> None:
    page.locator("#chat-page textarea").fill(text)
    page.keyboard.press("Enter")


def start_slow_run(page: Page, url: str) -> None:
    """Approve a run of some seconds, and wait until it goes on."""
    open_chat(page, url)
    say(page, "/plan slow.yaml")
    page.click("[data-act=approve]")
    page.wait_for_selector(".card.running progress[value]")


def go_on(folder: Path) -> None:
    """Let the slow run come to its end, which it would not within any test: none has to catch it in time."""
    (folder / "go").touch()


def resume_to_its_end(page: Page, folder: Path) -> None:
    page.click("[data-act=resume]")
    go_on(folder)
    page.wait_for_selector(".card.done")
    assert len(board(folder)) == 1


def records(folder: Path, **wanted: str) -> list[dict[str, Any]]:
    """The ledger's records that have these values."""
    lines = [
        json.loads(line)
        for path in sorted((folder / ".opswright" / "ledger").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if all(line[name] == value for name, value in wanted.items())]


def board(folder: Path) -> list[str]:
    path = folder / "board.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_what_only_reads_answers_at_once_and_what_says_not_to_runs_nothing(page: Page, chat: Any) -> None:
    from playwright.sync_api import expect

    open_chat(page, chat.url)
    for number, (typed, message) in enumerate(
        (
            ("/help", "/approve [RUN]"),
            ("/skills", "changes what users of an endpoint get"),
            ("/runs", "Put a small model on the board"),
            ("/status", "runs, 0 of them open"),
            ("/live", "support"),
            ("/gpus", "GPU"),
            ("/audit verify", "Intact"),
            ("/doctor", "keep a workspace"),
            ("don't roll support back", "it says not to"),
            ("xyzzy", "no wish to do something was understood"),
        ),
        start=1,
    ):
        say(page, typed)
        expect(page.locator(".answer").nth(number - 1)).to_contain_text(message, use_inner_text=True)
    assert not records(chat.folder, skill="rollback")


def test_a_plan_is_shown_approved_once_and_followed_to_its_end(page: Page, chat: Any) -> None:
    open_chat(page, chat.url)
    say(page, "/plan slow.yaml")
    card = page.locator(".card")
    page.wait_for_selector(".card.waiting")
    shown = card.inner_text()
    for words in ("waits for approval", "Take a while", "practise", "makes artifacts in the workspace"):
        assert words in shown
    assert "changes what users of an endpoint get" in shown and "0 GPU hours" in shown
    assert not board(chat.folder)
    page.locator("[data-act=approve]").dblclick()
    page.wait_for_selector(".card.running progress[value]")
    page.wait_for_selector(".step.running svg.curve polyline")
    go_on(chat.folder)
    page.wait_for_selector(".card.done")
    assert "every step is done" in card.inner_text()
    run = card.get_attribute("data-run") or ""
    assert len(board(chat.folder)) == 1
    assert len(records(chat.folder, run=run, phase="approved")) == 1
    assert [record["step"] for record in records(chat.folder, run=run, phase="intent")] == ["model", "live"]
    assert "reused" in page.locator(".step[data-step=data]").inner_text()
    assert records(chat.folder, run=run, phase="approved")[0]["detail"]["how"] == "console"


def test_a_card_says_what_users_of_an_endpoint_get_before_and_after(page: Page, chat: Any) -> None:
    open_chat(page, chat.url)
    say(page, "/rollback support")
    page.wait_for_selector(".card.waiting")
    look = page.locator(".card .impact").inner_text()
    assert "endpoint support" in look and "users get now" in look and "after" in look
    assert look.count("v1-") >= 2 and "v2-" in look  # the canary goes, stable stays
    page.click("[data-act=reject]")
    page.wait_for_selector(".card.denied")


def test_clicks_from_two_tabs_carry_a_plan_out_once(page: Page, chat: Any) -> None:
    open_chat(page, chat.url)
    say(page, "/plan 1-practise.yaml")
    page.wait_for_selector("[data-act=approve]")
    other = page.context.new_page()
    open_chat(other, page.url)
    for tab in (page, other, page, other):
        tab.evaluate("document.querySelectorAll('[data-act=approve]').forEach((b) => b.click())")
    for tab in (page, other):
        tab.wait_for_selector(".card.done")
    run = page.locator(".card").get_attribute("data-run") or ""
    assert len(board(chat.folder)) == 1 and len(records(chat.folder, run=run, phase="approved")) == 1


def test_a_rejected_plan_runs_nothing_and_says_who(page: Page, chat: Any) -> None:
    from playwright.sync_api import expect

    open_chat(page, chat.url)
    say(page, "/plan 1-practise.yaml")
    who = page.locator("#person strong").inner_text()
    known = len(records(chat.folder, phase="denied", actor=who))
    page.click("[data-act=reject]")
    page.wait_for_selector(".card.denied")
    expect(page.locator(".card")).to_contain_text(f"{who} denied the plan")
    say(page, "/plan 1-practise.yaml")
    page.wait_for_selector(".card.waiting")
    say(page, "/deny not today")
    page.wait_for_function("document.querySelectorAll('.card.denied').length >= 2")
    expect(page.locator(".card.denied").last).to_contain_text("not today")
    assert not board(chat.folder)
    assert len(records(chat.folder, phase="denied", actor=who)) == known + 2
    say(page, "/approve")
    page.wait_for_selector(".answer >> text=no plan in this conversation is waiting")


def test_a_reload_in_mid_run_shows_the_same_conversation_still_moving(page: Page, chat: Any) -> None:
    open_chat(page, chat.url)
    say(page, "/plan slow.yaml")
    page.wait_for_selector(".card.waiting")
    say(page, "/approve")
    page.wait_for_selector(".card.running progress[value]")
    page.reload()
    page.wait_for_selector(".card.running progress[value]")
    assert page.locator(".said").all_inner_texts()[0].endswith("/plan slow.yaml")
    before = page.locator(".card progress").first.get_attribute("value")
    page.wait_for_function(
        "v => { const p = document.querySelector('.card progress');"
        " return !p || p.getAttribute('value') !== v }",
        arg=before,
    )
    go_on(chat.folder)
    page.wait_for_selector(".card.done")
    assert len(board(chat.folder)) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_loses_neither_a_waiting_plan_nor_a_running_one(
    folder: Path, start_console: StartConsole, page: Page, how: signal.Signals
) -> None:
    server = start_console(folder)
    open_chat(page, server.url)
    say(page, "/plan 1-practise.yaml")
    page.wait_for_selector(".card.waiting")
    say(page, "/plan slow.yaml")
    page.wait_for_function("document.querySelectorAll('.card.waiting').length === 2")
    page.locator("[data-act=approve]").last.click()
    page.wait_for_selector(".card.running progress[value]")
    server.kill(how)
    page.wait_for_selector(".trouble:not([hidden])")
    server.start()
    page.wait_for_selector(".trouble", state="hidden")
    page.reload()
    page.wait_for_selector(".card.waiting")
    assert "Put a small model" in page.locator(".card.waiting").inner_text()
    go_on(folder)
    page.wait_for_selector(".card.done >> text=Take a while")
    page.click("[data-act=approve]")
    page.wait_for_function("document.querySelectorAll('.card.done').length === 2")
    assert len(board(folder)) == 2


def test_stop_ends_a_run_and_resume_goes_on_with_it(page: Page, chat: Any) -> None:
    start_slow_run(page, chat.url)
    page.click("[data-act=stop]")
    page.wait_for_selector(".card.stopped")
    assert "(releaser). Finished steps are kept" in page.locator(".card").inner_text() and not board(
        chat.folder
    )
    run = page.locator(".card").get_attribute("data-run") or ""
    assert records(chat.folder, run=run)[-1]["detail"]["stopped_by"].endswith("(releaser)")
    resume_to_its_end(page, chat.folder)


def test_a_button_that_is_held_down_while_its_run_goes_on_is_still_pressed(page: Page, chat: Any) -> None:
    start_slow_run(page, chat.url)
    page.wait_for_selector(".step.running svg.curve polyline")  # the card grows no more
    page.hover("[data-act=stop]")
    page.mouse.down()
    page.wait_for_timeout(2000)  # the card would be drawn anew meanwhile
    page.mouse.up()
    page.wait_for_selector(".card.stopped")
    assert not board(chat.folder), "the run was stopped before its last step"


def test_stopping_all_processes_stops_a_run_where_it_is_and_not_those_of_another_workspace(
    folder: Path, start_console: StartConsole, page: Page
) -> None:
    start_slow_run(page, start_console(folder).url)
    workspace = folder / ".opswright"
    command = [sys.executable, "-m", "opswright.ui.cli", "--home"]
    elsewhere = subprocess.run([*command, str(workspace)[:-3], "stop"], capture_output=True, text=True)
    assert "nothing was running" in elsewhere.stdout
    stopped = subprocess.run([*command, str(workspace), "stop"], capture_output=True, text=True)
    assert "worker (pid" in stopped.stdout
    page.wait_for_selector(".card.failed")
    assert "stopped by a person" in page.locator(".card").inner_text() and not board(folder)
    resume_to_its_end(page, folder)


def test_what_a_row_holds_is_shown_as_it_is(page: Page, chat: Any) -> None:
    with (chat.folder / "lines.txt").open("a") as file:
        file.write("a line that makes it another file\n")
    open_chat(page, chat.url)
    say(page, "/plan 1-practise.yaml")
    page.click("[data-act=approve]")
    page.wait_for_selector(".card.done")
    for summary in page.locator(".card summary").all():
        summary.click()
    shown = page.locator(".card").inner_text()
    for line in (chat.folder / "lines.txt").read_text().splitlines():
        assert line in shown
    say(page, "<img src=x onerror=\"document.title='owned'\"> **b** [l](http://example.com) {{value}}")
    page.wait_for_function("document.querySelectorAll('.answer').length >= 1")
    assert "**b** [l](http://example.com) {{value}}" in page.locator(".said").last.inner_text()
    assert page.locator(".log img, .log script, .log a[href^='http://example']").count() == 0
    assert "owned" not in page.title()


def test_conversations_are_kept_and_listed(page: Page, chat: Any) -> None:
    open_chat(page, chat.url)
    say(page, "/runs")
    page.wait_for_selector(".answer")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    say(page, "/skills")
    page.wait_for_selector(".answer >> text=collect")
    page.wait_for_function("document.querySelectorAll('.conversations .one').length === 2")
    page.click(".conversations .one >> text=/runs")
    page.wait_for_selector(".said >> text=/runs")
    assert page.locator(".said").count() == 1
    fresh = page.context.new_page()
    open_chat(fresh, chat.url)
    assert fresh.locator(".conversations .one").count() == 2


def test_an_uploaded_plan_file_is_kept_and_can_be_planned(page: Page, chat: Any) -> None:
    from playwright.sync_api import FilePayload

    open_chat(page, chat.url)
    page.set_input_files(
        "#chat-page input[type=file]",
        files=[FilePayload(name="my plan.yaml", mimeType="text/yaml", buffer=SLOW.encode())],
    )
    page.wait_for_selector(".answer >> text=Kept as my_plan.yaml")
    page.wait_for_selector(".conversations .one.current >> text=uploaded my plan.yaml")
    (chat.folder / "my_plan.yaml").write_text((chat.folder / "1-practise.yaml").read_text())
    page.click(".answer [data-act=take]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card.waiting >> text=Take a while")  # and not the one beside it
    page.set_input_files(
        "#chat-page input[type=file]",
        files=[FilePayload(name="run.py", mimeType="text/plain", buffer=b"print(1)")],
    )
    page.wait_for_function("document.querySelector('#chat-page .fault').innerText.includes('run.py')")
    assert not list((chat.folder / ".opswright").rglob("run.py"))


def test_a_wrong_address_is_told_and_a_viewer_is_offered_nothing_to_approve(
    folder: Path, start_console: StartConsole, page: Page
) -> None:
    url = start_console(folder, OPSWRIGHT_ROLE="viewer").url
    open_chat(page, f"{url}/?c=nope")
    page.wait_for_function(
        "document.querySelector('#chat-page .fault').innerText.includes('unknown conversation')"
    )
    opswright = [sys.executable, "-m", "opswright.ui.cli", "run", "slow.yaml"]
    plugin, path = str(Path(__file__).with_name("plugin")), os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [plugin, path]))}
    asked = subprocess.run(
        opswright, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert asked.returncode == 5, asked.stderr  # nobody approves without a terminal
    say(page, f"/show {records(folder)[-1]['run']}")
    page.wait_for_selector(".card.waiting")
    assert not page.locator("[data-act=approve]").is_visible()


def test_a_command_from_another_page_waits_in_the_box_until_a_person_sends_it(page: Page, chat: Any) -> None:
    from playwright.sync_api import expect

    known = len(records(chat.folder, phase="proposed"))
    box = open_chat(page, f"{chat.url}/?say=/rollback%20support")
    expect(box).to_have_value("/rollback support")  # it comes after the conversation
    page.click("[data-act=new]")
    box.press("Enter")  # at once: it is said in the new conversation, however long that takes to come
    page.wait_for_selector(".card.waiting")
    expect(page.locator(".said")).to_have_count(1)
    expect(page.locator(".conversations .one")).to_have_count(1)  # the first one stayed empty
    assert len(records(chat.folder, phase="proposed")) == known + 1


def test_an_answer_cites_records_and_each_citation_opens_its_record(
    folder: Path, start_console: StartConsole, page: Page
) -> None:
    pytest.importorskip("milvus_lite")
    open_chat(page, start_console(folder).url)
    say(page, "wich model cleared the bar, and how certain is that?")
    cited = page.locator(".answer .passage a[href^='/ledger?seq=']").first
    cited.wait_for()
    assert "verdict GO" in page.locator(".answer .passage").first.inner_text()
    seq = cited.inner_text().removeprefix("record ")
    cited.click()
    page.wait_for_url(f"**/ledger?seq={seq}")
    page.get_by_role("heading", name=f"Record {seq}").wait_for()
