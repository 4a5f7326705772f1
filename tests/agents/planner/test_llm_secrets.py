"""The planner's key goes to the endpoint that settings name, and nowhere else: no record, event or answer."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner import Declined, Proposal

KEY = "sk-planner-0123456789-abcdefghij"
CURATE = {"id": "data", "skill": "curate", "with": {"source": "new.csv"}}


@pytest.fixture
def with_key(plan: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PLANNER_KEY", KEY)
    plan.settings["key"] = "secret:env:PLANNER_KEY"
    return plan


def shown_of(text: str) -> str:
    """As much of the key's beginning as a text holds, from eight characters on."""
    return next((KEY[:n] for n in range(len(KEY), 7, -1) if KEY[:n] in text), "")


@pytest.mark.parametrize("key", [KEY, None])
def test_no_header_of_the_environment_reaches_the_endpoint(
    plan: Any, play: ModuleType, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("PLANNER_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-of-the-environment")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of-the-environment\nX-Org: of-the-environment"
    )
    if key:
        plan.settings["key"] = "secret:env:PLANNER_KEY"
    plan.server.play(play.proposes(CURATE))
    assert isinstance(plan("make a training set from new.csv"), Proposal)
    sent = plan.server.headers[-1]
    assert sent["authorization"] == f"Bearer {key or 'none'}"
    assert not [value for value in sent.values() if "environment" in value]


@pytest.mark.parametrize("before", range(160, 200, 7))
def test_a_key_that_an_error_repeats_is_hidden_wherever_the_error_is_cut(
    with_key: Any, play: ModuleType, before: int
) -> None:
    filler = "x" * before
    for part in (
        play.fails(401, filler + KEY),
        play.events({"error": {"message": filler + "x" * 100 + KEY}}),
        play.calls(filler[:45] + KEY),
        play.calls("propose_plan", {"steps": [{**CURATE, filler[:45] + KEY: 1}]}),
    ):
        with_key.server.play(part)
        reply = with_key("clean new.csv")
        assert not shown_of(with_key.without_model(reply)) and not shown_of(str(reply))
        assert not any(shown_of(event.text) for event in with_key.events)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": [{**CURATE, "id": KEY}]},
        {"steps": [{**CURATE, "with": {"source": "new.csv", "name": f"a-{KEY}"}}]},
        {"steps": [CURATE], "gates": {KEY: {"suite": "shop", "metric": "exact_match", "min": 0.5}}},
    ],
)
def test_a_plan_that_holds_a_secret_is_none(with_key: Any, play: ModuleType, arguments: Any) -> None:
    with_key.server.play(play.calls("propose_plan", arguments))
    reply = with_key("clean new.csv")
    assert "hold a secret" in with_key.without_model(reply) and not shown_of(str(reply))


def test_a_key_that_comes_a_letter_at_a_time_is_shown_at_no_time(with_key: Any, play: ModuleType) -> None:
    letters = [play.delta(content=letter) for letter in f"it is {KEY} and that is all"]
    with_key.server.play(play.events(*letters, play.delta("stop"), play.usage(), pause_s=0.02))
    reply = with_key("have a look around")
    heard = [event.text for event in with_key.events if event.kind == "thinking"]
    assert isinstance(reply, Declined) and heard[-1] == "it is [secret] and that is all"
    assert not any(shown_of(text) for text in heard) and "it is" in {text.strip() for text in heard}


def test_a_text_in_small_pieces_is_told_now_and_then(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.events(*[play.delta(content="word ")] * 4_000, play.delta("stop"), play.usage()))
    plan.settings["max_turns"] = 1
    plan("have a look around")
    heard = [event.text for event in plan.events if event.kind == "thinking"]
    assert len(heard) < 400 and len(heard[-1]) == 4_000


def test_the_words_before_a_pause_are_told_while_it_lasts(plan: Any, play: ModuleType) -> None:
    heard_in_time = threading.Event()

    def pauses(handler: Any) -> None:
        handler.stream()
        for word in ("I ", "look ", "first."):
            handler.event(play.delta(content=word))
        until = time.monotonic() + 10
        while time.monotonic() < until and not heard_in_time.is_set():
            if any(event.kind == "thinking" and "first." in event.text for event in plan.events):
                heard_in_time.set()
            time.sleep(0.01)
        for value in (play.delta("stop"), play.usage(), "[DONE]"):
            handler.event(value)

    plan.server.play(pauses)
    plan.settings["max_turns"] = 1
    plan("have a look around")
    assert heard_in_time.is_set()


def test_what_an_endpoint_says_of_a_failure_moves_no_cursor(plan: Any, play: ModuleType) -> None:
    plan.server.play(play.fails(500, "\x1b[2J\u202egnp.exe\x07"))
    reply = plan("clean new.csv")
    why = plan.without_model(reply)
    assert "HTTP 500" in why and why.isprintable() and "\u202e" not in why
    assert all(event.text.isprintable() for event in plan.events)


def test_a_key_with_a_line_break_at_its_end_is_the_key(
    plan: Any, play: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.settings["key"] = "secret:env:PLANNER_KEY"
    monkeypatch.setenv("PLANNER_KEY", f" {KEY}\n")
    plan.server.play(play.proposes(CURATE))
    assert isinstance(plan("make a training set from new.csv"), Proposal)
    assert plan.server.headers[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-More: b", f"{KEY}\u00e9"])
def test_a_key_that_can_be_none_is_said_and_sent_to_nobody(
    plan: Any, play: ModuleType, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    plan.settings["key"] = "secret:env:PLANNER_KEY"
    monkeypatch.setenv("PLANNER_KEY", key)
    plan.server.play(play.proposes(CURATE))
    reply = plan("clean new.csv")
    assert "planner.key" in plan.without_model(reply) and plan.server.bodies == []
    assert not shown_of(str(reply))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_key_elsewhere(with_key: Any, play: ModuleType, status: int) -> None:
    with play.model_server() as other:
        other.play(play.proposes(CURATE))
        with_key.server.play(play.fails(status, location=f"{other.url}/chat/completions"))
        assert f"HTTP {status}" in with_key.without_model(with_key("clean new.csv"))
        assert other.bodies == []
