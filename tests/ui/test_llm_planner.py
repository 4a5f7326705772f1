"""A model as the planner of `opswright agent` and of the chat: consent, the record, streaming, stopping."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.core.registry import Registry
from opswright.core.settings import Role, load_settings
from opswright.core.workspace import Workspace
from opswright.record.ledger import Ledger, Phase
from opswright.ui.cli import run
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.chat_service import ChatService
from opswright.ui.console.console import Console

COLLECT = {"id": "rows", "skill": "collect", "with": {"source": "lines.txt"}}


@pytest.fixture(scope="module")
def play(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    path = Path(__file__).parents[1] / "agents" / "planner" / "model_server.py"
    return load_script(path, "planner_model_server")


@pytest.fixture
def model(tmp_path: Path, play: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    monkeypatch.chdir(tmp_path)
    with play.model_server() as server:
        named = {"kind": "llm", "base_url": server.url, "model": "tester", "retries": "0"}
        for name, value in named.items():
            monkeypatch.setenv(f"OPSWRIGHT_PLANNER__{name.upper()}", value)
        monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
        yield server


@pytest.fixture
def ended(small_skills: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*words: str) -> tuple[int, dict[str, Any], str]:
        code = run(["agent", *words, "--json"], Registry(small_skills.SKILLS))
        shown = capsys.readouterr()
        return code, json.loads(shown.out), shown.err

    return call


def test_the_record_says_who_planned_of_which_prompts(
    model: Any, play: ModuleType, ended: Callable[..., Any]
) -> None:
    model.play(play.calls("list_runs", thinks="Looking."), play.proposes(COLLECT))
    code, document, told = ended("please collect lines.txt")
    assert (code, document["status"]) == (5, "waiting") and "reads list_runs" in told
    records = Ledger.of(Workspace(load_settings())).records()
    proposed = next(record for record in records if record.phase == Phase.PROPOSED)
    planner = proposed.detail["planner"]
    assert (planner["kind"], planner["model"], planner["read"]) == ("llm", "tester", ["list_runs"])
    assert len(planner["prompts"]["rules.v1"]) == 64 and len(planner["prompts"]["tools"]) == 64
    assert proposed.detail["planning"]["tokens"] == planner["tokens"] > 0
    assert any("By the model tester" in one["message"] for one in document["findings"])


def test_yes_is_no_consent_to_what_a_model_planned_after_reading(
    model: Any, play: ModuleType, ended: Callable[..., Any]
) -> None:
    model.play(play.calls("list_runs"), play.proposes(COLLECT))
    code, document, told = ended("please collect lines.txt", "--yes")
    assert (code, document["status"]) == (5, "waiting") and "no consent" in told
    model.play(play.proposes(COLLECT))
    code, document, _ = ended("please collect lines.txt", "--yes")
    assert (code, document["status"]) == (0, "done")


def test_an_endpoint_that_is_down_is_said_and_the_sentence_read_all_the_same(
    model: Any, play: ModuleType, ended: Callable[..., Any]
) -> None:
    model.play(play.fails(503, "starting"))
    code, document, told = ended("collect lines.txt")
    assert (code, document["status"]) == (5, "waiting")
    assert "Planned without a model" in told and "HTTP 503" in told
    code, document, _ = ended("do not collect lines.txt")
    assert code == 2 and "HTTP 503" in document["planner"]["instead_of"]


def test_an_unknown_planner_is_refused_with_the_setting_to_change(
    model: Any, ended: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_PLANNER__KIND", "lmm")
    code, document, _ = ended("collect lines.txt")
    assert code == 2 and "planner.kind" in document["error"]["message"]


# the chat


@pytest.fixture
def chat(model: Any, tmp_path: Path, small_skills: ModuleType) -> Iterator[ChatService]:
    settings = load_settings(home=tmp_path / ".opswright", actor="ada")
    service = ChatService(Console(Registry(small_skills.SKILLS), settings))
    yield service
    service.close()


def seen(
    chat: ChatService, name: str, wanted: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        entries: list[dict[str, Any]] = chat.look(name, 0, {})["entries"]
        if wanted(entries):
            return entries
        time.sleep(0.05)
    raise AssertionError(f"not seen: {entries}")


def planning_in(entries: list[dict[str, Any]]) -> str:
    return " ".join(str(one["html"]) for one in entries if str(one["id"]).endswith("-planning"))


ADA, BOB = Person("ada", Role.RELEASER), Person("bob", Role.RELEASER)


def test_the_chat_shows_what_a_model_thinks_and_reads_until_its_plan_stands(
    chat: ChatService, model: Any, play: ModuleType
) -> None:
    slow = play.events(
        *(play.delta(content=word) for word in ("I look <b>", "at ", "the runs. ") * 8),
        *(play.delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "list_runs"}}]),),
        play.delta("tool_calls"),
        pause_s=0.1,
    )
    model.play(slow, play.proposes(COLLECT))
    name = chat.new()
    chat.send(ADA, name, "please collect lines.txt", 0, {})
    seen(chat, name, lambda entries: "I look &lt;b&gt;at" in planning_in(entries))
    entries = seen(chat, name, lambda entries: any("run" in one for one in entries))
    assert planning_in(entries) == "" and "By the model tester after reading list_runs" in entries[-1]["html"]


def test_who_asked_can_stop_a_model_and_nobody_else(chat: ChatService, model: Any, play: ModuleType) -> None:
    from opswright.core.errors import DeniedError

    model.play(play.says("thinking " * 600, pause_s=0.05))
    name = chat.new()
    message = chat.send(ADA, name, "please collect lines.txt", 0, {})["pending"]
    seen(chat, name, lambda entries: "thinking" in planning_in(entries))
    with pytest.raises(DeniedError):
        chat.stop_planning(BOB, name, message)
    chat.stop_planning(ADA, name, message)
    entries = seen(chat, name, lambda entries: any(one.get("to") == message for one in entries))
    assert "Stopped" in entries[-1]["html"] and model.broken.wait(5)
