"""Triton's probes: ready is who answers with its own release; a slow server lives, a dead worker does not."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from opswright.serving.kubernetes import probe


class FakeTriton(http.server.BaseHTTPRequestHandler):
    """Answers as `says` has it; `hangs` waits with an answer until the test is over."""

    says: tuple[int, dict[str, Any]] = (200, {})
    hangs: threading.Event | None = None
    is_live = True

    def do_POST(self) -> None:
        if self.hangs is not None:
            self.hangs.wait(120)
            return
        self._send(*self.says)

    def do_GET(self) -> None:
        self._send(200 if self.is_live else 503, {})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        status = status if self.headers["opswright-secret"] == "s3cret" else 403
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeTriton]]:
    class Handler(FakeTriton):
        """This test's own: what it says is set on the class."""

    handler = Handler
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told = {
        "OPSWRIGHT_TRITON_PORT": str(server.server_port),
        "OPSWRIGHT_MODEL": "shop-v1",
        "OPSWRIGHT_RELEASE": "c-1",
        "TRITON_SECRET": "s3cret",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    yield handler
    if handler.hangs is not None:
        handler.hangs.set()
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.mark.parametrize("question", ["answers", "lives"])
@pytest.mark.parametrize(
    ("says", "code"),
    [
        ((200, {"release": "c-1", "text_output": "x"}), 0),
        ((200, {"release": "c-2", "text_output": "x"}), 1),
        ((200, {"error": "Stub process is not healthy"}), 1),
        ((500, {"error": "Stub process is not healthy"}), 1),
        ((404, {}), 1),
    ],
)
def test_only_an_answer_of_the_own_release_counts(
    triton: type[FakeTriton], question: str, says: tuple[int, dict[str, Any]], code: int
) -> None:
    triton.says = says
    assert probe.main(question) == code


@pytest.mark.parametrize(("is_live", "lives"), [(True, 0), (False, 1)])
def test_a_server_that_is_only_slow_lives_and_is_not_ready(
    triton: type[FakeTriton], monkeypatch: pytest.MonkeyPatch, is_live: bool, lives: int
) -> None:
    monkeypatch.setattr(probe, "_ASK_S", 0.2)
    triton.hangs, triton.is_live = threading.Event(), is_live
    assert probe.main("answers") == 1
    assert probe.main("lives") == lives


def test_a_server_that_is_not_there_does_not_live(
    triton: type[FakeTriton], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_TRITON_PORT", "1")
    assert probe.main("lives") == 1


def test_a_wrong_secret_is_no_answer(triton: type[FakeTriton], monkeypatch: pytest.MonkeyPatch) -> None:
    triton.says = (200, {"release": "c-1"})
    monkeypatch.setenv("TRITON_SECRET", "other")
    assert probe.main("answers") == 1
