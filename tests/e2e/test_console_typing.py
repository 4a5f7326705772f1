"""What is typed into the chat: help, faults, and haste, by which nothing is lost, doubled or mixed up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opswright.record.ledger import Ledger

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Locator, Page, Route

pytestmark = pytest.mark.e2e
_LONGEST_S = 60

PRESS = """(box, [keys, ...texts]) => {
  for (const key of keys) {
    if (texts.length) { box.value = texts.shift(); box.dispatchEvent(new Event('input', {bubbles: true})); }
    box.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  }
  if (texts.length) { box.value = texts.shift(); box.dispatchEvent(new Event('input', {bubbles: true})); }
}"""


@pytest.fixture
def box(small_workspace: Path, start_console: Callable[..., Any], page: Page) -> Locator:
    """The input box of a chat page that is ready."""
    page.goto(start_console(small_workspace).url)
    page.wait_for_selector("#chat-page [data-ready]")
    return page.locator("#chat-page textarea")


def send(page: Page, box: Locator, text: str, answer: str) -> None:
    box.fill(text)
    box.press("Enter")
    page.wait_for_selector(f".answer >> text={answer}")


class Holding:
    """Holds back what the server answers to the first call of a name with some words, until it is let go."""

    def __init__(self, page: Page, name: str, *words: str) -> None:
        self._page, self._words = page, words
        self._held: list[tuple[Route, APIResponse]] = []
        page.route(re.compile(f"/call/chat/{name}$"), self._take)

    def _take(self, route: Route) -> None:
        asked = route.request.post_data or ""
        if not self._held and all(word in asked for word in self._words):
            self._held.append((route, route.fetch()))
        else:
            route.continue_()

    def wait(self) -> None:
        """Until there is an answer."""
        deadline = time.monotonic() + _LONGEST_S
        while not self._held:
            assert time.monotonic() < deadline, "the page did not ask"
            self._page.wait_for_timeout(20)

    def let_go(self) -> None:
        """Pass the answer on, and wait until the page has had it."""
        self.wait()
        ((route, answer),) = self._held
        with self._page.expect_response(lambda response: response.request == route.request) as answered:
            route.fulfill(response=answer)
        answered.value.finished()
        self._page.evaluate("() => new Promise((done) => setTimeout(done, 100))")


def test_typing_a_slash_offers_commands_then_arguments_then_values(
    page: Page, box: Locator, small_workspace: Path
) -> None:
    from playwright.sync_api import expect

    box.press_sequentially("/pr")
    expect(page.locator(".option span.mono")).to_have_text(["/practise", "/promote"])
    box.press("ArrowDown")
    box.press("Tab")
    page.wait_for_selector(".option >> text=seconds=")
    expect(box).to_have_value("/practise ")
    box.press_sequentially("da")
    page.wait_for_selector(".option >> text=data=")
    box.press("Tab")
    page.wait_for_selector(".option >> text=dataset:")
    box.press("Tab")
    expect(box).to_have_value(re.compile(r"/practise data=dataset:[0-9a-f]{12} "))
    for typed, offered in (
        ("/plan 1-", "1-practise.yaml"),
        ("/golden suite=b", "banking77"),
        ("/collect source=li", "lines.txt"),
        ("/resume 2", next(iter(Ledger(small_workspace / ".opswright" / "ledger").records())).run),
        ("/leaderboard for", "format="),
        ("/drift endpoint=", "support"),
    ):
        box.fill(typed)
        page.wait_for_function(
            "text => [...document.querySelectorAll('.option')].some(o => o.innerText.includes(text))",
            arg=offered,
        )


def test_a_wrong_command_is_explained_and_nothing_is_sent(
    page: Page, box: Locator, small_workspace: Path
) -> None:
    from playwright.sync_api import expect

    fault = page.locator("#chat-page .fault")
    for typed, message in (
        ("/leaderbord", "Did you mean '/leaderboard'"),
        ("/LEADERBOARD", "Did you mean '/leaderboard'"),
        ("/leaderboard suite=clinc", "Did you mean 'clinc150'"),
        ("/plan nowhere.yaml", "file 'nowhere.yaml' not found"),
        ("/show nothing", "unknown run 'nothing'"),
        ("/collect source=", "is empty"),
        ("/collect sorce=lines.txt", "Did you mean 'source'"),
        ("/practise data=dataset:ffffffff", "matches 0 artifacts"),
        ("/plan", "/plan needs FILE"),
        ("/runs all", "takes no words"),
        ("/collect source='lines", "Quote values"),
    ):
        box.fill(typed)
        box.press("Enter")
        page.wait_for_function(
            "says => document.querySelector('#chat-page .fault').innerText.includes(says)", arg=message
        )
        assert box.input_value() == typed
    assert page.locator(".said").count() == 0 and not list(
        (small_workspace / ".opswright").glob("conversations/*")
    )
    box.fill("/help plan")
    box.press("Enter")
    page.wait_for_selector(".answer >> text=Show what a plan file would do")
    expect(fault).to_have_text("")


def test_a_second_enter_sends_nothing_twice(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    box.evaluate(PRESS, [["Enter", "Enter"], "/skills", "/skills"])
    page.wait_for_selector(".answer >> text=collect")
    send(page, box, "/help plan", "Show what a plan file would do")
    expect(page.locator(".said")).to_have_count(2)


def test_what_is_typed_before_the_answer_is_there_stays_in_the_box(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    held = Holding(page, "send")
    box.evaluate(PRESS, [["Enter"], "/skills", "/help pl"])
    page.wait_for_selector(".option")
    held.let_go()
    page.wait_for_selector(".answer >> text=collect")
    expect(box).to_have_value("/help pl")
    expect(page.locator(".option").first).to_be_visible()


def test_what_was_sent_is_shown_when_the_box_is_emptied_and_not_before(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    held = Holding(page, "send")
    box.fill("/skills")
    box.press("Enter")
    held.wait()
    page.wait_for_timeout(3000)  # the page would look for what is new meanwhile
    expect(page.locator(".said")).to_have_count(0)
    held.let_go()
    expect(page.locator(".said")).to_have_count(1)
    expect(box).to_have_value("")


def test_tab_completes_what_is_typed_and_not_what_was_offered_before(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    box.fill("/")
    page.wait_for_selector(".option >> text=/practise")
    held = Holding(page, "assist", '"/pr"')
    box.evaluate(PRESS, [["Tab"], "/pr"])
    held.wait()
    page.wait_for_timeout(300)  # what typing would ask for by now would overtake what Tab asked
    held.let_go()
    expect(box).to_have_value("/practise ")


def test_the_fault_of_a_sent_line_is_not_wiped_by_the_help_that_was_asked_while_typing(
    page: Page, box: Locator
) -> None:
    from playwright.sync_api import expect

    held = Holding(page, "assist", "nowhere.yaml")
    box.fill("/plan nowhere.yaml")
    held.wait()
    box.press("Enter")
    fault = page.locator("#chat-page .fault")
    expect(fault).to_contain_text("file 'nowhere.yaml' not found")
    held.let_go()
    expect(fault).to_contain_text("file 'nowhere.yaml' not found")
    assert "mild" not in (fault.get_attribute("class") or "")


def test_the_fault_of_an_earlier_line_is_not_shown_when_a_later_one_was_answered(
    page: Page, box: Locator
) -> None:
    from playwright.sync_api import expect

    held = Holding(page, "send", "nowhere.yaml")
    box.fill("/plan nowhere.yaml")
    box.press("Enter")
    held.wait()
    send(page, box, "/help plan", "Show what a plan file would do")
    held.let_go()
    expect(page.locator("#chat-page .fault")).to_have_text("")


def test_the_list_of_conversations_is_the_newest_that_was_asked_for(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    held = Holding(page, "list_conversations")
    box.fill("/runs")
    box.press("Enter")
    held.wait()
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    send(page, box, "/skills", "collect")
    ones = page.locator(".conversations .one")
    expect(ones).to_have_count(2)
    held.let_go()
    expect(ones).to_have_count(2)


def test_the_conversation_that_was_opened_last_is_shown_whatever_is_answered_first(
    page: Page, box: Locator
) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    send(page, box, "/skills", "collect")
    ones = page.locator(".conversations .one")
    expect(ones).to_have_count(2)
    first, second = (ones.filter(has_text=text) for text in ("/runs", "/skills"))
    held = Holding(page, "open_conversation", first.get_attribute("data-conversation") or "none")
    first.click()
    second.click()
    held.let_go()
    expect(page.locator(".said")).to_have_count(1)
    expect(page.locator(".said")).to_contain_text("/skills")


def test_an_answer_stays_in_its_conversation_when_another_was_opened_since(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    held = Holding(page, "send", "/skills")
    box.fill("/skills")
    box.press("Enter")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    held.let_go()
    expect(page.locator(".said")).to_have_count(0)
    page.locator(".conversations .one").filter(has_text="/runs").click()
    expect(page.locator(".said")).to_have_count(2)
