"""Chats of several turns: each asked after the chat's own turns, or after the model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opswright.data.sample import Sample
from opswright.engines import Chat, GenerationOptions, GenerationResult, Progress
from opswright.evals.runner import choose_items, run_suite
from opswright.evals.suites import Suite, load_suite
from opswright.evals.turns import each_turn

TINY = Path(__file__).parent / "tiny" / "turns.yaml"
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TALK = Sample(
    "t",
    (
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "eins"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "user", "content": "three"},
    ),
    ("drei", "trois"),
    metadata={"gold": {}},
)


class Talker:
    """Answers with how many messages it was given, and keeps them; fails where it is told to."""

    version = "talker 1"

    def __init__(self, fails_on: str = "nothing") -> None:
        self.fails_on = fails_on
        self.asked: list[Chat] = []

    def generate(
        self, chats: Any, options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        self.asked += chats
        return [
            GenerationResult(None, "error", error="told to fail")
            if chat[-1]["content"] == self.fails_on
            else GenerationResult(f"own {len(chat)}")
            for chat in chats
        ]

    def close(self) -> None:
        """Nothing."""


def test_each_turn_after_a_users_message_is_an_item_and_a_greeting_is_none() -> None:
    turns = each_turn([TALK])
    assert [one.id for one in turns] == ["t/turn-001", "t/turn-002", "t/turn-003"]
    assert [one.targets for one in turns] == [("eins",), (), ("drei", "trois")]
    assert [len(one.prompt) for one in turns] == [2, 4, 6] and {one.group for one in turns} == {"t"}
    assert turns[1].messages[-1]["tool_calls"] == [CALL]
    assert [bool(one.metadata) for one in turns] == [False, False, True]


def test_own_answers_stand_where_the_chats_turns_stood() -> None:
    suite = load_suite(TINY)
    engine = Talker()
    measured = run_suite(suite, engine, "m")
    assert [item.id for item in measured.items] == ["shop/turn-001", "shop/turn-002"]
    assert [message["content"] for message in engine.asked[1]] == [
        "Is it open on Sunday?",
        "own 1",
        "Until when?",
    ]
    assert {item.group for item in measured.items} == {"shop"}


def test_with_reference_turns_the_model_sees_the_chat_as_it_is() -> None:
    suite = replace(load_suite(TINY), turns="reference")
    engine = Talker()
    run_suite(suite, engine, "m")
    assert [chat[1]["content"] for chat in engine.asked if len(chat) == 3] == ["Yes."]
    assert suite.digest != load_suite(TINY).digest


def test_after_a_turn_without_an_answer_the_chat_is_asked_no_more_and_all_is_counted() -> None:
    items = each_turn([TALK, replace(TALK, id="u", messages=TALK.messages[:3], targets=())])
    suite = Suite("toy", items, task="chat", turns="own")
    engine = Talker(fails_on="two")
    measured = run_suite(suite, engine, "m")
    errors = {item.id: item.error for item in measured.items}
    assert errors["t/turn-002"] == "told to fail" and "earlier turn" in str(errors["t/turn-003"])
    assert errors["t/turn-001"] is None and errors["u/turn-001"] is None and len(engine.asked) == 3


def test_a_limit_asks_the_first_turns_of_the_chats_it_takes() -> None:
    chats = [replace(TALK, id=f"t{n}") for n in range(20)]
    suite = Suite("toy", each_turn(chats), task="chat", turns="own")
    taken = [one.id for one in choose_items(suite, 10)]
    assert len(taken) == 10
    for one in taken:
        chat, _, turn = one.partition("/turn-")
        assert all(f"{chat}/turn-{n:03d}" in taken for n in range(1, int(turn)))


@pytest.mark.parametrize("line", ["turns: all", "turns: 2"])
def test_turns_that_there_are_not_are_refused_with_their_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "turns.yaml"
    path.write_text(TINY.read_text().replace("turns: own", line))
    with pytest.raises(Exception, match="line 3: turns"):
        load_suite(path)
