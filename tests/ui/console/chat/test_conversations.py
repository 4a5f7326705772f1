"""Conversations: kept, listed, read on from any place, never lost to a crash."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.chat_service import ChatService
from opswright.ui.console.chat.conversations import Conversations
from opswright.ui.console.chat.page import _where
from opswright.ui.console.console import Console


def test_entries_are_read_from_the_start_or_from_where_one_was(workspace: Workspace) -> None:
    kept = Conversations(workspace)
    name = kept.new()
    assert kept.read(name) == ([], 0)
    kept.append(name, "said", by="ada", text="/runs")
    first, place = kept.read(name)
    kept.append(name, "answer", blocks=[])
    later, end = kept.read(name, place)
    assert [entry["kind"] for entry in first] == ["said"] and [e["kind"] for e in later] == ["answer"]
    assert kept.read(name, end) == ([], end)
    assert len({entry["id"] for entry in kept.read(name)[0]}) == 2


def test_the_list_has_the_first_thing_said_and_the_newest_conversation_first(workspace: Workspace) -> None:
    kept = Conversations(workspace)
    older, newer = kept.new(), kept.new()
    kept.append(older, "said", by="ada", text="/plan  a\n" + "x" * 100)
    kept.append(newer, "said", by="grace", text="/runs")
    folder = workspace.root / "conversations"
    import os

    os.utime(folder / f"{older}.jsonl", (1, 1))
    listed = kept.newest()
    assert [one.by for one in listed] == ["grace", "ada"]
    assert listed[1].title.startswith("/plan a xxx") and len(listed[1].title) == 64


def test_a_line_cut_by_a_crash_is_passed_over_and_nothing_after_it_is_lost(workspace: Workspace) -> None:
    kept = Conversations(workspace)
    name = kept.new()
    kept.append(name, "said", by="ada", text="one")
    with (workspace.root / "conversations" / f"{name}.jsonl").open("a") as file:
        file.write('{"id":"e1","at":"2026')
    assert len(kept.read(name)[0]) == 1
    kept.append(name, "said", by="ada", text="two")
    assert [entry["text"] for entry in kept.read(name)[0]] == ["one", "two"]


@pytest.mark.parametrize(
    "name", ["../ledger/000001", "/etc/passwd", "", "20261120-101500-1a2b3c/../x", "%2e%2e"]
)
def test_a_name_cannot_lead_out_of_the_folder(workspace: Workspace, name: str, tmp_path: Path) -> None:
    kept = Conversations(workspace)
    with pytest.raises(AskError, match="unknown conversation"):
        kept.read(name)
    with pytest.raises(AskError, match="unknown conversation"):
        kept.append(name, "said", by="ada", text="x")


def test_a_correction_is_understood_after_the_console_was_restarted(console: Console, ada: Person) -> None:
    first = ChatService(console)
    name = first.new()
    _send(first, ada, name, "please collect lines.txt")
    first.close()
    second = ChatService(Console(console.registry, console.settings))
    _send(second, ada, name, "make it 2 rows")
    runs = [
        entry["run"] for entry in Conversations(console.workspace).read(name)[0] if entry["kind"] == "run"
    ]
    plans = [console.agent(ada).outcome(run).plan for run in runs]
    assert [plan.steps[0].arguments["least_rows"] for plan in plans if plan is not None] == [1, 2]
    _send(second, ada, name, "yes, go ahead")
    assert [console.agent(ada).outcome(run).status for run in runs] == ["denied", "waiting"]  # corrected
    second.close()


def _send(service: ChatService, person: Person, name: str, text: str) -> None:
    sent = service.send(person, name, text, 0, {})
    for _ in range(200):
        if sent["pending"] is None or any(one.get("to") == sent["pending"] for one in sent["entries"]):
            return
        time.sleep(0.05)
        sent = {**service.look(name, 0, {}), "pending": sent["pending"]}
    raise AssertionError(f"no answer to {text}")


@pytest.mark.parametrize(
    "asked",
    [
        {"cursor": float("inf")},
        {"cursor": 1 << 70},
        {"cursor": -1},
        {"cursor": "0"},
        {"live": {"e0": 3}},
        {"live": [1]},
    ],
)
def test_a_place_that_no_page_sends_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(AskError, match="invalid position"):
        _where({"conversation": "20261120-180101-a1b2c3", **asked})
