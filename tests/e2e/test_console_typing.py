"""What is typed into the chat: help, faults, and haste, by which nothing is lost, doubled or mixed up."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from opswright.record.ledger import Ledger

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.e2e

PRESS = """(box, [keys, ...texts]) => {
  for (const key of keys) {
    if (texts.length) { box.value = texts.shift(); box.dispatchEvent(new Event('input', {bubbles: true})); }
    box.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  }
  if (texts.length) { box.value = texts.shift(); box.dispatchEvent(new Event('input', {bubbles: true})); }
}"""


PASTE = "(box, text) => { box.value = text; box.dispatchEvent(new Event('input', {bubbles: true})); }"


@pytest.fixture
def box(empty_chat: Any, page: Page) -> Locator:
    """The input box of a chat page that is ready."""
    page.goto(empty_chat.url)
    page.wait_for_selector("#chat-page [data-ready]")
    return page.locator("#chat-page textarea")


def send(page: Page, box: Locator, text: str, answer: str) -> None:
    box.fill(text)
    box.press("Enter")
    page.wait_for_selector(f".answer >> text={answer}")


@pytest.fixture
def hold(hold_answer: Callable[..., Any]) -> Callable[..., Any]:
    """Holds back what the server answers to the first call of a name with some words."""
    return lambda name, *words: hold_answer(rf"/call/chat/{name}$", *words)


def test_typing_a_slash_offers_commands_then_arguments_then_values(
    page: Page, box: Locator, empty_chat: Any
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
        ("/resume 2", next(iter(Ledger(empty_chat.folder / ".opswright" / "ledger").records())).run),
        ("/leaderboard for", "format="),
        ("/drift endpoint=", "support"),
    ):
        box.fill(typed)
        page.wait_for_function(
            "text => [...document.querySelectorAll('.option')].some(o => o.innerText.includes(text))",
            arg=offered,
        )


def test_back_and_forward_lead_through_the_conversations_that_were_open(page: Page, box: Locator) -> None:
    send(page, box, "/live", "support")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    send(page, box, "/skills", "collect")
    address = page.url
    for leave, said in ((page.go_back, "/live"), (page.go_forward, "/skills"), (page.reload, "/skills")):
        leave()
        page.wait_for_selector(f".said >> text={said}")
    assert page.url == address and page.locator(".said").count() == 1
    page.click("[data-act=delete]")
    page.click("[data-act=delete-now]")
    page.wait_for_selector(".welcome")
    page.go_back()  # past the one that is no more
    page.wait_for_selector(".said >> text=/live")


def test_a_line_that_is_far_too_long_is_refused_and_hides_nothing(page: Page, box: Locator) -> None:
    from playwright.sync_api import expect

    box.evaluate(PASTE, "/" + "a" * 1_000_000)
    expect(page.locator("#chat-page .fault")).to_contain_text("unknown command")
    told = page.locator("#chat-page .fault").bounding_box()
    assert told is not None and told["height"] < 120
    box.press("Enter")
    expect(page.locator("#chat-page .fault")).to_contain_text("1,000,001 characters, the limit is 20,000")
    assert page.locator(".said").count() == 0 and len(box.input_value()) == 1_000_001


def test_a_wrong_command_is_explained_and_nothing_is_sent(page: Page, box: Locator, empty_chat: Any) -> None:
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
        (empty_chat.folder / ".opswright").glob("conversations/*")
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


def test_what_is_typed_before_the_answer_is_there_stays_in_the_box(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("send")
    box.evaluate(PRESS, [["Enter"], "/skills", "/help pl"])
    page.wait_for_selector(".option")
    held.let_go()
    page.wait_for_selector(".answer >> text=collect")
    expect(box).to_have_value("/help pl")
    expect(page.locator(".option").first).to_be_visible()


def test_what_was_sent_is_shown_when_the_box_is_emptied_and_not_before(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("send")
    box.fill("/skills")
    box.press("Enter")
    held.wait()
    page.wait_for_timeout(3000)  # the page would look for what is new meanwhile
    expect(page.locator(".said")).to_have_count(0)
    held.let_go()
    expect(page.locator(".said")).to_have_count(1)
    expect(box).to_have_value("")


def test_tab_completes_what_is_typed_and_not_what_was_offered_before(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    box.fill("/")
    page.wait_for_selector(".option >> text=/practise")
    held = hold("assist", '"/pr"')
    box.evaluate(PRESS, [["Tab"], "/pr"])
    held.wait()
    page.wait_for_timeout(300)  # what typing would ask for by now would overtake what Tab asked
    held.let_go()
    expect(box).to_have_value("/practise ")


def test_the_fault_of_a_sent_line_is_not_wiped_by_the_help_that_was_asked_while_typing(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("assist", "nowhere.yaml")
    box.fill("/plan nowhere.yaml")
    held.wait()
    box.press("Enter")
    fault = page.locator("#chat-page .fault")
    expect(fault).to_contain_text("file 'nowhere.yaml' not found")
    held.let_go()
    expect(fault).to_contain_text("file 'nowhere.yaml' not found")
    assert "mild" not in (fault.get_attribute("class") or "")


def test_the_fault_of_an_earlier_line_is_not_shown_when_a_later_one_was_answered(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("send", "nowhere.yaml")
    box.fill("/plan nowhere.yaml")
    box.press("Enter")
    held.wait()
    send(page, box, "/help plan", "Show what a plan file would do")
    held.let_go()
    expect(page.locator("#chat-page .fault")).to_have_text("")


def test_the_list_of_conversations_is_the_newest_that_was_asked_for(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("list_conversations")
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
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    send(page, box, "/skills", "collect")
    ones = page.locator(".conversations .one")
    expect(ones).to_have_count(2)
    first, second = (ones.filter(has_text=text) for text in ("/runs", "/skills"))
    held = hold("open_conversation", first.get_attribute("data-conversation") or "none")
    first.click()
    second.click()
    held.let_go()
    expect(page.locator(".said")).to_have_count(1)
    expect(page.locator(".said")).to_contain_text("/skills")


def test_an_answer_stays_in_its_conversation_when_another_was_opened_since(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    held = hold("send", "/skills")
    box.fill("/skills")
    box.press("Enter")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    held.let_go()
    expect(page.locator(".said")).to_have_count(0)
    page.locator(".conversations .one").filter(has_text="/runs").click()
    expect(page.locator(".said")).to_have_count(2)


def test_a_search_shows_no_list_that_was_asked_for_before_it(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    ones = page.locator(".conversations .one")
    expect(ones).to_have_count(1)
    held = hold("list_conversations", '"words":""')
    send(page, box, "/skills", "collect")
    held.wait()
    page.evaluate(
        "() => new MutationObserver(() => { window.most = Math.max(window.most || 0,"
        " document.querySelectorAll('.conversations .one').length); })"
        ".observe(document.querySelector('.list'), { childList: true })"
    )
    page.fill(".find", "nobody said this")
    held.let_go()
    expect(ones).to_have_count(0)
    assert page.evaluate("window.most") < 2, "both conversations were offered as what was found"


def test_a_conversation_that_is_clicked_while_the_list_is_drawn_anew_is_opened(
    page: Page, box: Locator
) -> None:
    from playwright.sync_api import expect

    send(page, box, "/runs", "Put a small model on the board")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    send(page, box, "/skills", "collect")
    ones = page.locator(".conversations .one")
    expect(ones).to_have_count(2)
    ones.filter(has_text="/runs").locator(".name").hover()
    page.mouse.down()
    with page.expect_response("**/list_conversations"):
        page.locator(".find").dispatch_event("input")
    page.wait_for_timeout(500)
    page.mouse.up()
    expect(page.locator(".said")).to_contain_text("/runs")


def test_what_was_answered_before_its_line_was_confirmed_is_not_waited_for(
    page: Page, box: Locator, hold: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    held = hold("send", "/skills")
    box.fill("/skills")
    box.press("Enter")
    held.wait()
    send(page, box, "/help plan", "Show what a plan file would do")
    expect(page.locator(".answer")).to_have_count(2)
    held.let_go(pending=held.document["entries"][0]["id"])  # as when the command had taken longer
    page.wait_for_timeout(500)
    expect(page.locator(".working")).to_have_count(0)
