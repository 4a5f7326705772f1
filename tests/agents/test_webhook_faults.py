"""Addresses that misbehave, and a dispatcher that is killed: each message in its time, under one id."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest

import pytest

from opswright.agents import timed_http
from opswright.agents.identity import fetch
from opswright.agents.notifications import Dispatcher
from opswright.agents.notifications.background import is_dispatching
from opswright.agents.notifications.delivery import DeliveryError, deliver
from opswright.agents.notifications.dispatcher import read_state
from opswright.agents.notifications.events import trial_message
from opswright.agents.timed_http import open_in_time
from opswright.core.errors import NeedsError
from opswright.core.principal import Principal
from opswright.core.settings.notifications import WebhookSettings
from opswright.record.ledger import Entry, Ledger, Phase

Reply = Callable[[socket.socket], None]
ADA, RIA = Principal("ada", ("operator",), "test"), Principal("ria", ("releaser",), "test")


def slowly(data: bytes) -> Reply:
    """A byte now and then, each well within a socket's timeout."""

    def reply(line: socket.socket) -> None:
        for byte in data:
            line.sendall(bytes([byte]))
            time.sleep(0.15)

    return reply


def again_and_again(data: bytes) -> Reply:
    def reply(line: socket.socket) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            line.sendall(data)
            time.sleep(0.01)

    return reply


NEVER_WHOLE: dict[str, Reply] = {
    "status": slowly(b"HTTP/1.1 " + b"2" * 200),
    "header": slowly(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200),
    "go on": again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": lambda line: time.sleep(20),
}


@pytest.fixture
def listening() -> Iterator[Callable[..., int]]:
    """A port whose first connection gets a reply; over TLS where there is a context."""
    opened = list[socket.socket]()

    def listen(reply: Reply, context: ssl.SSLContext | None = None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        opened.append(server)

        def take() -> None:
            try:
                line, _ = server.accept()
                with context.wrap_socket(line, server_side=True) if context else line as spoken:
                    spoken.recv(65_536)
                    reply(spoken)
            except OSError:
                return

        threading.Thread(target=take, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for one in opened:
        one.close()


@pytest.mark.parametrize("kind", NEVER_WHOLE)
def test_an_address_has_its_time_and_no_more_however_it_spends_it(
    listening: Callable[..., int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("HOOK_KEY", "a key of the tests")
    url = f"http://127.0.0.1:{listening(NEVER_WHOLE[kind])}/hook"
    webhook = WebhookSettings(name="ops", url=url, secret="secret:env:HOOK_KEY")
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no reply: TimeoutError"):
        deliver(webhook, trial_message(), int(time.time()), 0.6)
    assert 0.5 < time.monotonic() - began < 4


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 with its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, kind, plain)
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def head_and_slowly(data: bytes) -> Reply:
    """A head at once, and a body whose length it does not tell."""

    def reply(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        slowly(data)(line)

    return reply


def test_a_body_that_its_time_cut_short_is_no_whole_one(listening: Callable[..., int]) -> None:
    url = f"http://127.0.0.1:{listening(head_and_slowly(b'{}' * 100))}/"
    with pytest.raises(TimeoutError), open_in_time(HttpRequest(url), 0.6, use_proxies=False) as opened:
        opened.read(1000)


@pytest.mark.parametrize("reply", [NEVER_WHOLE["header"], head_and_slowly(b"x" * 200)])
def test_the_time_holds_over_tls(
    listening: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    pem = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    timed_http._trusted.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    url, began = f"https://127.0.0.1:{listening(reply, context)}/", time.monotonic()
    with pytest.raises(TimeoutError), open_in_time(HttpRequest(url), 1.5, use_proxies=False) as opened:
        opened.read(1000)
    timed_http._trusted.cache_clear()
    assert 1.4 < time.monotonic() - began < 6


@pytest.mark.parametrize("kind", ["header", "body", "nothing"])
def test_an_issuer_of_keys_has_its_time_too(
    listening: Callable[..., int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(fetch, "_TIMEOUT_S", 0.6)
    reply = NEVER_WHOLE.get(kind) or head_and_slowly(b'{"keys": []}' + b" " * 200)
    began = time.monotonic()
    with pytest.raises(NeedsError, match="cannot get the issuer's keys from"):
        fetch.fetch_json(f"http://127.0.0.1:{listening(reply)}/keys", "the issuer's keys")
    assert 0.5 < time.monotonic() - began < 4


class Killing(ThreadingHTTPServer):
    """Keeps what it is told, and kills who tells it before it replies, as often as it is to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _KillingHandler)
        self.heard: list[tuple[str, int]] = []
        self.teller: subprocess.Popen[bytes] | None = None
        self.kills = list[bool]()  # for each message in turn: whether who tells it dies before the reply


class _KillingHandler(BaseHTTPRequestHandler):
    server: Killing

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.heard.append((self.headers["webhook-id"], body["data"]["record"]))
        if self.server.kills and self.server.kills.pop(0) and self.server.teller is not None:
            os.kill(self.server.teller.pid, signal.SIGKILL)
            self.server.teller.wait(10)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.timeout(240)
def test_who_tells_is_killed_after_it_sent_and_each_message_comes_under_one_id_and_in_order(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOK_KEY", "a key of the tests")
    server = Killing()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "opswright.toml").write_text(
        '[mlflow]\nmirror = "off"\n[[notifications.webhooks]]\nname = "ops"\n'
        f'url = "http://127.0.0.1:{server.server_address[1]}/hook"\n'
        'secret = "secret:env:HOOK_KEY"\nevents = ["approved"]\n'
    )
    made = agent()
    read_state(made.workspace)  # from here on
    ledger = Ledger.of(made.workspace)
    for number in range(3):
        ledger.append_all([Entry(Phase.PROPOSED, run=f"run-{number}", plan="p", effect="writes")], ADA)
        ledger.append_all([Entry(Phase.APPROVED, run=f"run-{number}", plan="p")], RIA)
    server.kills = [True, False, True]  # the first message, and the second one after the first came again
    command = [sys.executable, "-m", "opswright.agents.notifications", "--home", str(tmp_path / "ws")]
    for _ in range(3):
        server.teller = subprocess.Popen(command)
        server.teller.wait(90)
    assert server.teller is not None and server.teller.returncode == 0
    records = [record for _, record in server.heard]
    first, second, third = sorted(set(records))
    assert records == [first, first, second, second, third], "once more after each kill, and then the next"
    assert len(set(server.heard)) == 3, "under the same id"
    state = read_state(made.workspace).webhooks["ops"]
    assert state.delivered == 3 and not state.pending and not is_dispatching(made.workspace)
    server.shutdown()
    server.server_close()


def test_a_policy_that_cannot_be_read_keeps_nothing_from_being_told(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", "a key of the tests")
    server = Killing()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    hook = {"name": "ops", "url": url, "secret": "secret:env:HOOK_KEY", "events": ["approved"]}
    made = agent(notifications={"webhooks": [hook]})
    read_state(made.workspace)
    ledger = Ledger.of(made.workspace)
    ledger.append_all([Entry(Phase.PROPOSED, run="run", plan="p", effect="writes")], ADA)
    ledger.append_all([Entry(Phase.APPROVED, run="run", plan="p")], RIA)
    (made.workspace.root.parent / "policy.yaml").write_text("roles: [what")
    dispatcher, deadline = Dispatcher(made.workspace, made.registry), time.monotonic() + 20
    while not server.heard and time.monotonic() < deadline:
        dispatcher.step(0.1)
    dispatcher.close()
    assert len(server.heard) == 1
    server.shutdown()
    server.server_close()
