"""A judge on this machine that says what a test tells it to, well-behaved or not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

import pytest

from opswright.evals.judges.settings import JudgeSettings

Say = Callable[[dict[str, Any]], str]


class ScriptedJudge(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint. say: its reply to a request. misbehave: how, request by request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say: Say = lambda body: '{"reason": "fine", "score": 5}'
        self.misbehave: list[str] = []
        self.always = ""
        self.report: dict[str, int] | None = {"prompt_tokens": 10, "completion_tokens": 2}
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def settings(self, **more: Any) -> JudgeSettings:
        given = {"url": self.url, "model": "judge-1", "retries": 1, "timeout_s": 60, **more}
        return JudgeSettings.model_validate(given)


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedJudge
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.requests.append(body)
            self.server.keys.append(self.headers["Authorization"])
            how = self.server.always or (self.server.misbehave.pop(0) if self.server.misbehave else "")
        if how == "hang up":
            self.close_connection = True
            return
        status = int(how) if how.isdigit() else 200
        text = "I would give it a 5." if how == "prose" else self.server.say(body)
        finish = "length" if how == "cut" else "stop"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {} if self.server.report is None else {"usage": self.server.report}
        self._reply(status, json.dumps({"choices": [choice], **usage}).encode(), how)

    def _reply(self, status: int, data: bytes, how: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.end_headers()
        if how == "half":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif how == "drip":
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


class _Quiet(ScriptedJudge):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what the test wanted."""


@pytest.fixture
def judge(start_server: Callable[[BaseServer], None]) -> ScriptedJudge:
    one = _Quiet()
    start_server(one)
    return one
