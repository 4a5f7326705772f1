"""Two people in one console at once, its own pages, and every page as axe-core sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

PAGES = ("/", "/approvals", "/data", "/leaderboard", "/endpoints", "/drift", "/ledger", "/budgets", "/system")
READY = {
    **dict.fromkeys(PAGES, "[data-ready]"),
    "/data": ".take-in",
    "/leaderboard": "#leaderboard-table table",
    "/endpoints": "#releases",
    "/drift": "#tests",
    "/ledger": "#ledger-table tbody tr",
}
AXE_RUN = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`)"""


@pytest.fixture
def url(fresh_chat: Any) -> str:
    return str(fresh_chat.url)


@pytest.fixture
def other(browser: Browser) -> Iterator[Page]:
    """A second person's browser."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.set_default_timeout(240_000)
    yield context.new_page()
    context.close()


def say(page: Page, text: str) -> None:
    page.locator("#chat-page textarea[aria-label=Command]").fill(text)
    page.keyboard.press("Enter")


def test_two_people_in_one_conversation_see_both_in_one_order_and_a_changed_plan(
    page: Page, other: Page, url: str
) -> None:
    from playwright.sync_api import expect

    page.goto(url)
    page.wait_for_selector(".overview >> text=support")  # where the workspace stands, before anything is said
    say(page, "/help plan")
    page.wait_for_selector(".answer")
    other.goto(page.url)
    other.wait_for_selector(".said >> text=/help plan")
    say(other, "/skills")
    say(page, "/live")
    for who in (page, other):
        expect(who.locator(".said")).to_have_count(3)
        expect(who.locator(".answer")).to_have_count(3)
    said = [who.locator(".said .bubble").all_inner_texts() for who in (page, other)]
    assert said[0] == said[1] and sorted(said[0]) == ["/help plan", "/live", "/skills"]

    say(page, "/plan 1-practise.yaml")
    page.click("[data-act=edit]")
    text = page.locator(".plan-editor textarea")
    whole = text.input_value()
    text.fill(whole.replace("skill: practise", "skill: practice"))
    expect(page.locator(".said-of-it")).to_contain_text("Did you mean 'practise'")
    line = next(number for number, one in enumerate(whole.splitlines(), 1) if "practise" in one)
    expect(page.locator(".numbers .bad")).to_have_text(str(line))
    expect(page.locator(".plan-editor .approve")).to_be_disabled()
    text.fill(whole.replace("Put a small model", "Put another small model"))
    page.click(".plan-editor .approve:enabled")
    for who in (page, other):
        who.wait_for_selector(".card.denied >> text=Put a small model")
        who.wait_for_selector(".card.waiting >> text=Put another small model")

    other.goto(f"{url}/approvals")  # and the other one answers, on the page of what waits
    other.wait_for_selector("article >> text=Put another small model")
    other.fill("input[name=why]", "not this week")
    other.click("h1")
    say(page, "/plan 1-practise.yaml")
    expect(other.locator("article")).to_have_count(2)
    item = other.locator("article", has_text="Put another small model")
    expect(item.locator("input[name=why]")).to_have_value("not this week")  # what comes takes nothing away
    item.locator("[data-do=deny]").click()
    expect(other.locator("article")).to_have_count(1)
    page.wait_for_selector(".card.denied >> text=Put another small model")


def test_a_conversation_is_named_found_and_deleted_after_a_question(
    page: Page, other: Page, url: str
) -> None:
    from playwright.sync_api import expect

    page.goto(url)
    page.wait_for_selector("#chat-page [data-ready]")
    say(page, "/live")
    page.click(".one.current [data-act=rename]")
    page.keyboard.type("What March served")
    page.keyboard.press("Enter")
    page.wait_for_selector(".one.current >> text=What March served")
    other.goto(page.url)
    other.wait_for_selector(".said >> text=/live")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    say(page, "/skills")
    page.wait_for_selector(".answer")
    page.fill(".find", "march")
    expect(page.locator(".one .name")).to_have_count(1)
    page.click(".one .name")
    page.wait_for_selector(".said >> text=/live")
    page.click("[data-act=delete]")
    page.click("[data-act=keep-it]")
    page.click("[data-act=delete]")
    page.click("[data-act=delete-now]")
    page.wait_for_selector(".welcome")
    other.wait_for_selector("text=this conversation was deleted")
    page.fill(".find", "")
    expect(page.locator(".one .name")).to_have_count(1)


@pytest.mark.parametrize("path", PAGES)
def test_the_first_tab_offers_to_skip_to_the_content_and_every_page_has_its_heading(
    page: Page, url: str, path: str
) -> None:
    from playwright.sync_api import expect

    page.goto(url + path)
    page.wait_for_selector(READY[path])
    heading = "Chat" if path == "/" else path.strip("/").capitalize()
    expect(page.get_by_role("heading", level=1)).to_have_text([heading])
    page.evaluate("document.body.tabIndex = -1, document.body.focus()")  # the chat's caret is in its box
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    assert page.evaluate("location.pathname") == path


@pytest.mark.skipif(not os.environ.get("OPSWRIGHT_TEST_AXE"), reason="axe-core is not here: see .ci/run")
def test_axe_finds_nothing_serious_on_any_page_in_light_and_dark_and_on_a_phone(
    browser: Browser, url: str
) -> None:
    axe = Path(os.environ["OPSWRIGHT_TEST_AXE"]).read_text(encoding="utf-8")
    found: list[str] = []
    for scheme, width in (("light", 1280), ("dark", 390)):
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        context.set_default_timeout(240_000)
        for path in PAGES:
            page = context.new_page()
            page.goto(url + path)
            page.wait_for_selector(READY[path])
            page.evaluate(axe)
            found += [f"{scheme} {width} {path} {one}" for one in page.evaluate(AXE_RUN)]
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            if page.evaluate(wider) > 0:
                found.append(f"{scheme} {width} {path}: wider than the screen")
            page.close()
        context.close()
    assert found == []
