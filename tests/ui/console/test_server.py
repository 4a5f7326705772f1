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


def test_the_console_ends_although_a_page_asks_while_it_does() -> None:
    program = [sys.executable, "-c", ASKED_WHILE_IT_ENDS]
    done = subprocess.run(program, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr[-1500:]


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
