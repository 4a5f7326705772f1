"""The supervisor: what it runs is run again behind the same socket, and ended with it."""

from __future__ import annotations

import inspect
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from opswright.serving import fleet, processes, supervisor, systemd
from opswright.serving.gateway import __main__ as gateway
from opswright.serving.gateway import shipping
from opswright.serving.gateway.listening import LISTENER
from opswright.serving.ports import bind
from opswright.serving.supervisor import Keeper, tell_systemd
from opswright.serving.triton import runtime
from opswright.serving.workers import BEATS

PATIENCE_S = 240.0
# answers each connection with its process id; `quit` ends it by itself, with the code that follows
ANSWERS = f"""
import os, socket, sys
listener = socket.socket(fileno=int(os.environ["{LISTENER}"]))
while True:
    connection, _ = listener.accept()
    said = connection.recv(100).decode()
    if said.startswith("quit"):
        sys.exit(int(said[4:]))
    connection.sendall(str(os.getpid()).encode())
    connection.close()
"""


class Kept:
    """A keeper at work in a thread, and what is behind its socket."""

    def __init__(self, script: str) -> None:
        self.listener = bind("127.0.0.1", 0)
        self.keeper = Keeper([sys.executable, "-c", script], self.listener.fileno())
        self.code: int | None = None
        self.thread = threading.Thread(target=self._keep)
        self.thread.start()

    def _keep(self) -> None:
        self.code = self.keeper.keep()

    def ask(self, text: str = "who?") -> str:
        with socket.create_connection(self.listener.getsockname(), timeout=PATIENCE_S) as connection:
            connection.sendall(text.encode())
            return connection.recv(100).decode()

    def ended(self) -> int | None:
        self.thread.join(timeout=PATIENCE_S)
        return self.code


def kill(pid: int) -> None:
    """Until it is gone: a dying process may still take a connection."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while processes.started_at(pid) is not None:
        assert time.monotonic() < deadline, "it does not die"
        time.sleep(0.01)


@pytest.fixture
def keep() -> Iterator[Callable[[str], Kept]]:
    started: list[Kept] = []

    def start(script: str) -> Kept:
        started.append(Kept(script))
        return started[-1]

    yield start
    for one in started:
        one.keeper.stop()
        one.thread.join(timeout=PATIENCE_S)
        one.listener.close()


def test_what_was_killed_is_run_again_and_who_comes_meanwhile_waits(keep: Callable[[str], Kept]) -> None:
    kept = keep(ANSWERS)
    first = kept.ask()
    kill(int(first))
    second = kept.ask()  # no connection is refused
    assert second != first
    with suppress(ConnectionResetError):  # it ends without an answer
        kept.ask("quit1")
    assert kept.ask() not in (first, second)


def test_what_refuses_to_begin_is_not_run_again_and_its_code_is_told(keep: Callable[[str], Kept]) -> None:
    assert keep("import sys; sys.exit(5)").ended() == 5


def test_what_served_and_then_fails_is_run_again_the_first_time_too() -> None:
    script = f'import os; os.write(int(os.environ["{BEATS}"]), b"."){ANSWERS}'
    listener = bind("127.0.0.1", 0)
    keeper = Keeper(
        [sys.executable, "-c", script],
        listener.fileno(),
        clock=lambda: 1_000 * time.monotonic(),  # an hour of service passes in some seconds
        watchdog_s=1e9,
        start_s=1e9,
    )
    thread = threading.Thread(target=keeper.keep)
    thread.start()

    def ask(text: str) -> str:
        with socket.create_connection(listener.getsockname(), timeout=60) as connection:
            connection.sendall(text.encode())
            return connection.recv(100).decode()

    try:
        first = ask("who?")
        with suppress(ConnectionResetError):
            ask("quit1")
        assert ask("who?") != first
    finally:
        keeper.stop()
        thread.join(timeout=PATIENCE_S)
        listener.close()


def test_a_worker_that_somebody_asked_to_end_is_started_again(keep: Callable[[str], Kept]) -> None:
    kept = keep(ANSWERS)
    first = kept.ask()
    with suppress(ConnectionResetError):
        kept.ask("quit0")
    assert kept.ask() != first


def test_a_process_that_cannot_be_made_just_now_is_tried_again(
    keep: Callable[[str], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, tries = subprocess.Popen, []

    def make(*given: Any, **options: Any) -> subprocess.Popen[bytes]:
        tries.append(given)
        if len(tries) <= 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return made(*given, **options)

    kept = keep(ANSWERS)
    first = kept.ask()
    monkeypatch.setattr(subprocess, "Popen", make)
    with suppress(ConnectionResetError):
        kept.ask("quit0")
    assert kept.ask() != first and len(tries) == 3


def test_who_ends_a_gateway_waits_longer_than_what_it_does_at_its_end() -> None:
    at_the_end = gateway._GRACE_S + runtime._GRACE_S + shipping._LAST_S
    assert at_the_end < supervisor._GRACE_S < fleet._STOP_S
    stated = re.search(r"TimeoutStopSec=(\d+)", inspect.getsource(systemd))
    assert stated is not None and int(stated[1]) > fleet._STOP_S


def test_a_supervisor_that_is_stopped_ends_what_it_runs(keep: Callable[[str], Kept]) -> None:
    kept = keep(ANSWERS)
    pid = int(kept.ask())
    kept.keeper.stop()
    assert kept.ended() == 0
    assert not Path(f"/proc/{pid}").exists()


def test_what_ships_its_last_while_it_ends_is_not_killed_for_its_silence(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    script = f"""
import os, pathlib, signal, sys, time
def end(number, frame):
    time.sleep(6)
    pathlib.Path({str(shipped)!r}).touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
os.write(int(os.environ["{BEATS}"]), b".")
pathlib.Path({str(tmp_path / "begun")!r}).touch()
while True:
    os.write(int(os.environ["{BEATS}"]), b".")
    time.sleep(0.2)
"""
    listener = bind("127.0.0.1", 0)
    keeper = Keeper([sys.executable, "-c", script], listener.fileno(), watchdog_s=2.0)
    thread = threading.Thread(target=keeper.keep)
    thread.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    keeper.stop()
    thread.join(timeout=PATIENCE_S)
    listener.close()
    assert shipped.exists()


def test_systemd_is_told_that_the_supervisor_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        tell_systemd()
        assert systemd.recv(100) == b"WATCHDOG=1"
    tell_systemd()  # nobody listens any more
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:1:2")
    tell_systemd()
