"""Conversations are found again by name and by words, named anew, and deleted for everybody."""

from __future__ import annotations

import pytest

from opswright.core.errors import AskError, HeldError
from opswright.core.settings import Role
from opswright.core.workspace import Workspace
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.chat_service import ChatService
from opswright.ui.console.chat.conversations import Conversations, turn_of
from opswright.ui.console.console import Console


@pytest.fixture
def kept(workspace: Workspace) -> Conversations:
    return Conversations(workspace)


def begun(kept: Conversations, *said: str) -> str:
    name = kept.new()
    for text in said:
        kept.append(name, "said", by="ada", text=text)
    return name


def test_a_planner_is_told_who_said_what(kept: Conversations) -> None:
    name = begun(kept, "/runs")
    kept.append(name, "said", by="ria", text="and /status")
    turns = [turn_of(entry) for entry in kept.read(name)[0]]
    assert [(one.by, one.text) for one in turns] == [("ada", "/runs"), ("ria", "and /status")]


def test_a_name_replaces_the_first_words_and_stays(kept: Conversations, workspace: Workspace) -> None:
    name = begun(kept, "/runs")
    kept.rename(name, "  The March\nrelease ")
    assert [one.title for one in Conversations(workspace).newest()] == ["The March release"]


@pytest.mark.parametrize("title", ["", "  ", "\u200b", "a" * 121, "left \u202e right"])
def test_a_name_that_cannot_be_read_is_refused(kept: Conversations, title: str) -> None:
    name = begun(kept, "/runs")
    with pytest.raises(AskError, match="characters that can be seen"):
        kept.rename(name, title)


def test_words_are_found_in_names_in_what_was_said_and_in_answers(kept: Conversations) -> None:
    first, second, third = (
        begun(kept, "/runs"),
        begun(kept, "/status", "is the Router live?"),
        begun(kept, "x"),
    )
    kept.rename(first, "Router of March")
    kept.append(third, "answer", blocks=[{"type": "text", "text": f"{'so ' * 60}the router serves v2 <b>"}])
    begun(kept, "/doctor")
    found = {one.id: one.found for one in kept.search("ROUTER")}
    assert set(found) == {first, second, third}
    assert found[first] == "" and found[second] == "is the Router live?"
    assert found[third].startswith("…") and "the router serves v2 <b>" in found[third]
    assert [one.id for one in kept.search("router march")] == [first]
    assert kept.search("nothing like it") == []


def test_what_is_deleted_is_gone_and_nobody_can_go_on_in_it(console: Console, ada: Person) -> None:
    service = ChatService(console)
    kept = Conversations(console.workspace)
    name = begun(kept, "/runs", "/status")
    kept.rename(name, "Old")
    cursor = kept.read(name)[1]
    service.delete(ada, name)
    assert service.listed("")["conversations"] == []
    assert list((console.workspace.root / "conversations").iterdir()) == []
    with pytest.raises(AskError, match="was deleted"):
        service.look(name, cursor, {})
    with pytest.raises(AskError, match="was deleted"):
        service.send(ada, name, "/runs", cursor, {})
    assert not kept.is_there(name)
    service.close()


def test_who_may_only_look_names_and_deletes_nothing(console: Console) -> None:
    service, viewer = ChatService(console), Person("vic", Role.VIEWER)
    name = begun(Conversations(console.workspace), "/runs")
    with pytest.raises(HeldError, match="may not rename"):
        service.rename(viewer, name, "Mine")
    with pytest.raises(HeldError, match="may not delete"):
        service.delete(viewer, name)
    assert [one["title"] for one in service.listed("")["conversations"]] == ["/runs"]
    service.close()


@pytest.mark.parametrize("name", ["../ledger/000001", "/etc/passwd", "x/../../y"])
def test_no_name_leads_out_of_the_folder(kept: Conversations, name: str) -> None:
    for act in (lambda: kept.rename(name, "a"), lambda: kept.delete(name), lambda: kept.is_there(name)):
        with pytest.raises(AskError, match="unknown conversation"):
            act()
