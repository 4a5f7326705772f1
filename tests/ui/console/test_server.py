"""Starting the console: what is refused before anything listens, and what it says."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys

import pytest

from opswright.core.errors import AskError, NeedsError
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.ui.console import app
from opswright.ui.console.auth.login_page import _target
from opswright.ui.console.auth.users import Person
from opswright.ui.console.console import Console
from opswright.ui.console.server import listen

ASKED_WHILE_IT_ENDS = """
import asyncio, os, signal, time
from opswright.ui.console.server import listen, run
from starlette.concurrency import run_in_threadpool

kept = []

async def page():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:  # the console ends, and somebody's page asks for something once more
        kept.append(asyncio.get_running_loop().create_task(run_in_threadpool(time.sleep, 0.2)))
        await asyncio.sleep(0.1)

async def app(scope, receive, send):
    await receive()
    kept.append(asyncio.get_running_loop().create_task(page()))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

run(app, listen("127.0.0.1", 0), "here", when_ready=lambda: os.kill(os.getpid(), signal.SIGTERM))
"""


WHO_ASKS = """
import http.client, os, signal, threading
from opswright.ui.console.server import listen, run

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})

def ask():
    connection = http.client.HTTPConnection("127.0.0.1", bound.getsockname()[1])
    connection.request("GET", "/", headers={"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"})
    print(connection.getresponse().read().decode(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

bound = listen("127.0.0.1", 0)
run(app, bound, "here", when_ready=ask, is_proxied=IS_PROXIED)
"""


@pytest.fixture
def console(workspace: Workspace) -> Console:
    return Console(Registry([]), workspace.settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "console.example"])
def test_an_address_others_can_reach_needs_a_login(console: Console, host: str) -> None:
    with pytest.raises(AskError, match="opswright users add NAME"):
        app.serve(console, host, 7999)


def test_a_port_that_is_taken_is_named_with_what_to_do(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(NeedsError, match=rf"port {port} on 127.0.0.1 is in use .* --port"):
            app.serve(console, "127.0.0.1", port)


def test_an_address_of_another_machine_is_said(console: Console) -> None:
    for host in ("192.0.2.1", "no.such.name.invalid"):
        with pytest.raises(AskError, match="not an address of this machine"):
            listen(host, 7999)


def test_without_gradio_the_error_holds_the_command_that_installs_it(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(NeedsError, match=r"-m pip install -c .*\[ui\]"):
        app.application(console, "127.0.0.1", 7999)


def test_uploads_lie_in_the_workspace_closed_to_others(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.delenv("GRADIO_EXAMPLES_CACHE", raising=False)
    folder = app._uploads_folder(console)
    assert folder == console.workspace.root / "uploads"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_who_may_upload_is_who_may_change_something(console: Console, workspace: Workspace) -> None:
    console.users = {role: Person(role, role) for role in ("viewer", "operator", "stranger")}
    console.logins, console.cookie = {f"token of {name}": name for name in console.users}, "c"
    may = {name: app._may_upload(console, {"c": f"token of {name}"}) for name in console.users}
    assert may == {"viewer": False, "operator": True, "stranger": False}
    assert not app._may_upload(console, {}) and not app._may_upload(console, {"c": "forged"})
    console.users = None
    assert app._may_upload(console, {}) is console.may_change(console.person(None))
    (workspace.root.parent / "policy.yaml").write_text("roles: 3")
    assert not app._may_upload(console, {})


def test_the_console_ends_although_a_page_asks_while_it_does() -> None:
    program = [sys.executable, "-c", ASKED_WHILE_IT_ENDS]
    done = subprocess.run(program, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize(("is_proxied", "known_as"), [(False, "127.0.0.1"), (True, "10.9.8.7")])
def test_only_a_proxy_says_from_where_somebody_asks(is_proxied: bool, known_as: str) -> None:
    """Else who guesses passwords gives each try an address of its own, and never waits."""
    program = [sys.executable, "-c", WHO_ASKS.replace("IS_PROXIED", str(is_proxied))]
    done = subprocess.run(program, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.strip() == known_as


def test_a_proxy_is_known_by_the_names_that_are_allowed_for_it(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(app, "run", lambda *args, is_proxied, **more: told.append(is_proxied))
    monkeypatch.setattr(app, "end_on_sigterm", lambda: None)
    for names in ([], ["ops.example.org"]):
        parts = console.settings.console.model_copy(update={"allowed_hosts": names})
        console.settings = console.settings.model_copy(update={"console": parts})
        app.serve(console, "127.0.0.1", 0)
    assert told == [False, True]


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("/ledger?run=a&seq=3", "/ledger?run=a&seq=3"),
        ("/", "/"),
        ("//evil.example/", "/"),
        ("https://evil.example/ledger", "/"),
        ("javascript:alert(1)", "/"),
        ("/\\evil.example", "/"),
        ("ledger", "/"),
        ("/elsewhere", "/"),
    ],
)
def test_a_login_leads_to_a_page_of_the_console_only(to: str, target: str) -> None:
    assert _target(to, ("/", "/ledger")) == target
