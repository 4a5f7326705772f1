"""A model as the planner of the chat, in a real browser: it thinks aloud, is stopped, dies half way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

COLLECT = {"id": "rows", "skill": "collect", "with": {"source": "lines.txt"}}
ASKED = "please collect lines.txt"


@pytest.fixture(scope="module")
def play(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    path = Path(__file__).parents[1] / "agents" / "planner" / "model_server.py"
    return load_script(path, "planner_model_server")


@pytest.fixture
def model(play: ModuleType) -> Iterator[Any]:
    with play.model_server() as server:
        yield server


@pytest.fixture
def chat(page: Page, model: Any, small_workspace: Path, start_console: Callable[..., Any]) -> Page:
    """A chat page whose console asks that model."""
    named = {"KIND": "llm", "BASE_URL": model.url, "MODEL": "tester", "RETRIES": "0"}
    console = start_console(
        small_workspace, **{f"OPSWRIGHT_PLANNER__{name}": value for name, value in named.items()}
    )
    page.goto(console.url)
    page.wait_for_selector("#chat-page [data-ready]")
    return page


def say(page: Page, text: str) -> None:
    page.locator("#chat-page textarea").fill(text)
    page.keyboard.press("Enter")


def held(play: ModuleType, text: str, go: threading.Event, then: list[Any] | None) -> Callable[[Any], None]:
    """Says a text, waits to be let go, then sends the rest of its stream; None: the line is cut there."""

    def part(handler: Any) -> None:
        handler.stream()
        for word in text.split():
            handler.event(play.delta(content=f"{word} "))
        while not go.is_set() and not handler.wait(0.05):
            handler.event(play.delta(content=""))  # so that a closed line is noticed
        if then is None:
            return
        for value in (*then, play.usage(), "[DONE]"):
            handler.event(value)

    return part


def test_what_a_model_says_and_reads_is_seen_while_it_does_and_then_its_plan(
    chat: Page, model: Any, play: ModuleType
) -> None:
    from playwright.sync_api import expect

    first, second = threading.Event(), threading.Event()
    reads = [
        play.delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "list_runs"}}]),
        play.delta("tool_calls"),
    ]
    model.play(
        held(play, "I look at <b>what ran</b> first.", first, reads),
        held(play, "Now the plan.", second, [play.delta("stop")]),
        play.proposes(COLLECT),
    )
    say(chat, ASKED)
    thinking = chat.locator(".answer.planning")
    expect(thinking).to_contain_text("I look at <b>what ran</b> first.")  # as text, and before it is over
    assert chat.locator(".card").count() == 0
    first.set()
    expect(thinking.locator("li")).to_have_text("reads list_runs")
    expect(thinking).to_contain_text("Now the plan.")
    second.set()
    card = chat.locator(".card.waiting")
    expect(card).to_contain_text("By the model tester after reading list_runs")
    expect(thinking).to_have_count(0)
    card.locator("[data-act=approve]").click()
    chat.wait_for_selector(".card.done")


def test_stop_ends_the_model_and_nothing_is_proposed(chat: Page, model: Any, play: ModuleType) -> None:
    from playwright.sync_api import expect

    model.play(held(play, "This takes long.", threading.Event(), []))
    say(chat, ASKED)
    chat.locator(".answer.planning").get_by_role("button", name="Stop").click()
    expect(chat.locator(".answer").last).to_contain_text("Stopped")
    assert model.broken.wait(10)  # the endpoint need not go on either
    assert chat.locator(".card").count() == 0


def test_a_model_that_dies_in_the_middle_is_told_and_the_words_are_read_without_it(
    chat: Page, model: Any, play: ModuleType
) -> None:
    from playwright.sync_api import expect

    go = threading.Event()
    model.play(held(play, "I begin,", go, None))
    say(chat, ASKED)
    expect(chat.locator(".answer.planning")).to_contain_text("I begin,")
    go.set()
    card = chat.locator(".card.waiting")
    expect(card).to_contain_text("Planned without a model")
    expect(card).to_contain_text("lines.txt")
