"""Webhooks: signed, told once at least, retried, never in a run's way, without secrets or texts of users."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.approvals import Consent
from opswright.agents.notifications import Dispatcher, start_dispatcher
from opswright.agents.notifications import dispatcher as dispatching
from opswright.agents.notifications.background import is_dispatching
from opswright.agents.planner import Ask
from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.record.endpoint_history import WATCH_SKILL
from opswright.record.ledger import Entry, Ledger, Phase
from opswright.ui.cli import run as opswright

from .webhook_receiver import Receiver


class LookRequest(Request):
    endpoint: str
    alarm: bool = True


class LookResult(Result):
    endpoint: str
    alarm: bool


@skill(effect=Effect.READS, summary="Look at an endpoint's traffic.")
def look(request: LookRequest, ctx: StepContext) -> LookResult:
    return LookResult(endpoint=request.endpoint, alarm=request.alarm)


KEY = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()
RIA = Principal("ria", ("releaser",), "test")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOOK_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dispatching, "_FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(dispatching, "_WAITING_AFTER_S", 0.0)
    for module in ("agent", "followers"):  # no process
        monkeypatch.setattr(f"opswright.agents.{module}.notify", dispatching.read_state)


def hook(url: str, **more: Any) -> dict[str, Any]:
    return {"webhooks": [{"name": "ops", "url": url, "secret": "secret:env:HOOK_KEY", **more}]}


def go(agent: Agent, until: Callable[[], bool], seconds: float = 20.0) -> Dispatcher:
    one, deadline = Dispatcher(agent.workspace, agent.registry), time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        one.step(0.1)
    one.step(0.1)
    one.close()
    return one


def test_what_waits_is_approved_and_judged_is_told_signed_and_without_texts(
    agent: Any, plan_file: Path, receiver: Receiver
) -> None:
    made: Agent = agent(notifications=hook(receiver.url))
    plan_file.write_text(plan_file.read_text().replace("a small model", "a model for Mrs Miller"))
    waiting = made.start(Ask("plan_file", str(plan_file)))
    go(made, lambda: "waiting" in receiver.events())
    ria = Agent(made.workspace, made.registry, acting=RIA)
    assert waiting.plan is not None
    assert ria.resume(waiting.run, Consent(waiting.plan.id, "test")).status == "done"
    go(made, lambda: len(receiver.heard) >= 3)
    assert receiver.events() == ["waiting", "approved", "verdict"]
    headers, body = receiver.heard[2]
    told = json.loads(body)["data"]
    assert told["decision"] == "GO" and told["run"] == waiting.run and told["plan"] == waiting.plan.id
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    mac = hmac.new(b"twenty-four bytes of key", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    sent = b"".join(body for _, body in receiver.heard)
    assert b"Miller" not in sent and KEY.encode() not in sent and b"lines.txt" not in sent
    assert b"twenty-four" not in dispatching.state_path(made.workspace).read_bytes()


def test_what_is_not_taken_is_tried_again_under_the_same_id(
    agent: Any, plan_file: Path, receiver: Receiver
) -> None:
    made: Agent = agent(notifications=hook(receiver.url, events=["waiting"]))
    receiver.statuses = [500, 429, 302, 200]
    made.start(Ask("plan_file", str(plan_file)))
    go(made, lambda: len(receiver.heard) >= 4)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1 and len(receiver.heard) == 4
    go(made, lambda: False, seconds=0.5)
    assert len(receiver.heard) == 4, "what was taken is told no more"


def test_a_redirect_is_not_followed(agent: Any, plan_file: Path, receiver: Receiver) -> None:
    other = Receiver()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    made: Agent = agent(notifications=hook(receiver.url, events=["waiting"]))
    receiver.statuses, receiver.location = [307, 302, 200], other.url
    made.start(Ask("plan_file", str(plan_file)))
    go(made, lambda: len(receiver.heard) >= 3)
    other.shutdown()
    other.server_close()
    assert other.heard == [] and len(receiver.heard) == 3


def test_what_was_sent_and_not_noted_before_a_kill_is_sent_again_and_known_by_its_id(
    agent: Any, plan_file: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Agent = agent(notifications=hook(receiver.url, events=["waiting"]))
    made.start(Ask("plan_file", str(plan_file)))
    killed = Dispatcher(made.workspace, made.registry)
    monkeypatch.setattr(killed, "_settle", lambda: False)
    killed.step(0.3)
    deadline = time.monotonic() + 10
    while not receiver.heard and time.monotonic() < deadline:
        time.sleep(0.02)
    go(made, lambda: len(receiver.heard) >= 2)
    ids = [headers["webhook-id"] for headers, _ in receiver.heard]
    assert len(ids) == 2 and ids[0] == ids[1]


def test_a_dead_address_holds_up_neither_the_run_nor_another_address(
    agent: Any, plan_file: Path, receiver: Receiver
) -> None:
    with socket.socket() as silent:  # takes connections and never replies
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        both = hook(receiver.url)["webhooks"] + [{**hook(url)["webhooks"][0], "name": "dead"}]
        made: Agent = agent(notifications={"webhooks": both, "timeout_s": 1})
        waiting = made.start(Ask("plan_file", str(plan_file)))
        assert waiting.plan is not None
        assert made.resume(waiting.run, Consent(waiting.plan.id, "test")).status == "done"
        one = go(made, lambda: len(receiver.heard) >= 2)
        assert receiver.events() == ["approved", "verdict"]
        go(made, lambda: "no reply" in dispatching.read_state(made.workspace).webhooks["dead"].last_error)
        assert not one.is_idle and len(dispatching.read_state(made.workspace).webhooks["dead"].pending) == 2


def backlog(made: Agent, runs: int, name: str = "run") -> None:
    """So many runs that were approved while nobody delivered."""
    ada, ledger = Principal("ada", ("operator",), "test"), Ledger.of(made.workspace)
    for number in range(runs):
        run = f"{name}-{number}"
        ledger.append_all(
            [Entry(Phase.PROPOSED, run=run, plan="p", effect="writes", detail={"steps": []})], ada
        )
        ledger.append_all([Entry(Phase.APPROVED, run=run, plan="p")], RIA)


def test_after_days_away_all_is_told_in_order_once_and_never_held_all_at_once(
    agent: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "_MOST_PENDING", 8)
    made: Agent = agent(notifications=hook(receiver.url, events=["approved"]))
    dispatching.read_state(made.workspace)
    backlog(made, 60)
    receiver.statuses = [204] * 20 + [503, 429] + [204] * 100
    held = list[int]()
    write = dispatching.write_state

    def write_and_count(workspace: Any, state: Any) -> None:
        held.extend(len(one.pending) for one in state.webhooks.values())
        write(workspace, state)

    monkeypatch.setattr(dispatching, "write_state", write_and_count)
    go(made, lambda: len(receiver.heard) >= 30)
    go(made, lambda: len(receiver.heard) >= 62)  # and it was started again
    told = [(json.loads(body)["data"]["record"], headers["webhook-id"]) for headers, body in receiver.heard]
    assert len(told) == 62 and sorted(told) == told, "those that were not taken come again before the next"
    assert len(set(told)) == 60 and max(held) <= 8
    assert dispatching.behind(made.workspace, dispatching.read_state(made.workspace)) == 0


def test_a_message_that_an_address_refuses_holds_up_no_other_and_a_busy_address_is_not_stormed(
    agent: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Agent = agent(notifications=hook(receiver.url, events=["approved"]))
    dispatching.read_state(made.workspace)
    backlog(made, 5)
    receiver.statuses = [422]
    go(made, lambda: len(receiver.heard) >= 6)
    records = [json.loads(body)["data"]["record"] for _, body in receiver.heard]
    assert len(records) == 6 and records.count(records[0]) == 2 and len(set(records)) == 5
    receiver.heard.clear()
    receiver.statuses = [503] * 100
    monkeypatch.setattr(dispatching, "_FIRST_RETRY_S", 0.4)
    backlog(made, 50, "more")
    go(made, lambda: False, seconds=1.0)
    assert len({body for _, body in receiver.heard}) == 1, "one message is tried, not fifty"
    assert 1 <= len(receiver.heard) <= 3


def test_an_alarm_of_drift_and_a_canary_that_the_watch_withdrew_reach_the_webhook(
    agent: Any, receiver: Receiver
) -> None:
    made: Agent = agent(notifications=hook(receiver.url, events=["alarm"]))
    made.registry = Registry((look,))
    assert made.start(Ask("slash", "/look endpoint=support alarm=false")).status == "done"
    assert made.start(Ask("slash", "/look endpoint=support")).status == "done"
    result = {"endpoint": "shop", "canary_now": "withdrawn", "release": "r1", "canary": "r2"}
    withdrawn = Entry(Phase.DONE, skill=WATCH_SKILL, effect="serves", result=result)
    Ledger.of(made.workspace).append_all([withdrawn], Principal("watch", (), "test"))
    go(made, lambda: len(receiver.heard) >= 2)
    told = [json.loads(body) for _, body in receiver.heard]
    assert [(one["type"], one["data"]["reason"], one["data"]["endpoint"]) for one in told] == [
        ("opswright.alarm", "drift", "support"),
        ("opswright.alarm", "canary_withdrawn", "shop"),
    ]


def test_the_status_says_how_far_behind_a_webhook_is(
    agent: Any, receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "opswright.toml").write_text(
        '[mlflow]\nmirror = "off"\n[[notifications.webhooks]]\nname = "ops"\n'
        f'url = "{receiver.url}"\nsecret = "secret:env:HOOK_KEY"\nevents = ["approved"]\n'
    )
    made: Agent = agent()
    dispatching.read_state(made.workspace)
    backlog(made, 3)
    home = ["--home", str(made.workspace.root)]
    assert opswright([*home, "notifications", "status", "--json"], Registry(())) == 0
    (row,) = json.loads(capsys.readouterr().out)["webhooks"]
    assert row["behind"] == 6 and row["waiting"] == 0
    receiver.statuses = [503] * 100
    go(made, lambda: len(receiver.heard) >= 1)
    assert opswright([*home, "notifications", "status"], Registry(())) == 0
    told = capsys.readouterr()
    assert "Nothing delivers" in told.err and "status 503" in " ".join(told.out.split())


def test_an_approval_that_expires_is_told_once(agent: Any, plan_file: Path, receiver: Receiver) -> None:
    Path("policy.yaml").write_text("approvals: {expire_hours: 0.0001}\n")
    made: Agent = agent(notifications=hook(receiver.url, events=["expired"]))
    waiting = made.start(Ask("plan_file", str(plan_file)))
    assert waiting.plan is not None
    made.answer(waiting.run, Consent(waiting.plan.id, "test"))
    go(made, lambda: len(receiver.heard) >= 1)
    go(made, lambda: False, seconds=0.5)
    assert receiver.events() == ["expired"]


def test_a_budget_that_ended_and_a_refusal_are_told(agent: Any, plan_file: Path, receiver: Receiver) -> None:
    made: Agent = agent(notifications=hook(receiver.url))
    plan_file.write_text(plan_file.read_text().replace("steps:\n", "budget: {minutes: 1}\nsteps:\n", 1))
    assert made.start(Ask("plan_file", str(plan_file))).exit_code == 6
    go(made, lambda: "budget" in receiver.events())
    plan_file.write_text(plan_file.read_text().replace("minutes: 1", "minutes: 30"))
    waiting = made.start(Ask("plan_file", str(plan_file)))
    assert waiting.plan is not None
    made.answer(waiting.run, Consent(waiting.plan.id, "test", approved=False))
    go(made, lambda: "denied" in receiver.events())
    assert receiver.events() == ["budget", "denied"], "it waits no more"


@pytest.mark.parametrize(
    "document",
    [
        {"after": 10**6},
        {"after": -1},
        {"after": 0, "webhooks": {"ops": {"after": 10**6}}},
        {"after": 0, "webhooks": {"ops": {"pending": {"m": {"message": {"x": 1}, "since": 0}}}}},
        {"after": 0, "webhooks": {"ops": {"pending": {"m": {"message": 5, "since": 0}}}}},
    ],
)
def test_a_state_that_is_not_of_this_ledger_is_begun_anew(
    agent: Any, receiver: Receiver, document: dict[str, Any]
) -> None:
    made = agent(notifications=hook(receiver.url))
    dispatching.state_path(made.workspace).write_text(json.dumps(document))
    dispatcher = Dispatcher(made.workspace, made.registry)
    dispatcher.step()
    assert dispatcher.is_idle and receiver.heard == []
    dispatcher.close()


def test_what_happened_before_there_was_a_webhook_is_not_told(
    agent: Any, plan_file: Path, receiver: Receiver
) -> None:
    agent().start(Ask("plan_file", str(plan_file)))
    os.unlink(dispatching.state_path(agent().workspace))
    made: Agent = agent(notifications=hook(receiver.url))
    go(made, lambda: False, seconds=0.5)
    assert receiver.heard == []


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        ({"url": "http://10.0.0.5/hook"}, "https"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://user:word@hooks.example.org/"}, "url"),
        ({"secret": "the key itself"}, "secret"),
        ({"events": ["everything"]}, "events"),
    ],
)
def test_settings_that_are_wrong_are_said(webhook: dict[str, Any], message: str) -> None:
    with pytest.raises(AskError, match=message):
        load_settings(notifications=hook(**{"url": "https://hooks.example.org/", **webhook}))


def test_the_process_beside_a_run_delivers_and_survives_a_kill(
    agent: Any, plan_file: Path, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "opswright.toml").write_text(
        '[mlflow]\nmirror = "off"\n[[notifications.webhooks]]\nname = "ops"\n'
        f'url = "{receiver.url}"\nsecret = "secret:env:HOOK_KEY"\nevents = ["waiting"]\n'
    )
    receiver.statuses = [503]
    made: Agent = agent()
    made.start(Ask("plan_file", str(plan_file)))  # notes where the ledger is first
    command = [sys.executable, "-m", "opswright.agents.notifications", "--home", str(tmp_path / "ws")]
    first = subprocess.Popen(command)
    deadline = time.monotonic() + 90
    while not receiver.heard and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert len(receiver.heard) == 1 and not is_dispatching(made.workspace)
    assert start_dispatcher(made.workspace)
    while len(receiver.heard) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1 and len(receiver.heard) == 2
    while is_dispatching(made.workspace) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_dispatching(made.workspace), "it ends when nothing is left to tell"
