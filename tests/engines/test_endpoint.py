from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

import pytest

from opswright.core.errors import BackendError
from opswright.engines import GenerationOptions, GenerationResult, user_chat
from opswright.engines.endpoint import EndpointEngine


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that answers in upper case, after the failures it was told to make."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures: list[int] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.reply: Any = None
        self.failure: Any = {"error": "told to fail"}
        self.guard = threading.Lock()
        self.retry_after: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet a reply

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": "support"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.requests.append(body)
            self.server.keys.append(self.headers["Authorization"])
            status = self.server.failures.pop(0) if self.server.failures else 200
        text = body["messages"][-1]["content"].upper()
        good = self.server.reply or {"choices": [{"message": {"role": "assistant", "content": f" {text} "}}]}
        self.say(status, good if status == 200 else self.server.failure)

    def say(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429 and self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server(start_server: Callable[[BaseServer], None]) -> Server:
    one = Server()
    start_server(one)
    return one


@pytest.fixture
def engines() -> Iterator[Any]:
    made: list[EndpointEngine] = []

    def make(url: str, **options: Any) -> EndpointEngine:
        made.append(EndpointEngine(url, pause_s=0.001, **options))
        return made[-1]

    yield make
    for target in made:
        target.close()


def ask(engine: EndpointEngine, texts: list[str], progress: Any = None) -> list[GenerationResult]:
    return engine.generate([user_chat(text) for text in texts], GenerationOptions(), progress)


def test_prompts_are_answered_in_order_by_the_model_the_endpoint_lists(server: Server, engines: Any) -> None:
    seen: list[tuple[int, int]] = []
    answers = ask(engines(server.url), [f"p{i}" for i in range(20)], lambda d, n: seen.append((d, n)))
    assert [answer.text for answer in answers] == [f" P{i} " for i in range(20)]
    assert all(answer.latency_ms > 0 and answer.error is None for answer in answers)
    assert seen == [(i, 20) for i in range(1, 21)]
    assert {(r["model"], r["temperature"]) for r in server.requests} == {("support", 0)}


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/chat/completions"])
def test_any_usual_form_of_the_address_will_do(server: Server, engines: Any, path: str) -> None:
    assert ask(engines(server.url + path), ["x"])[0].text == " X "


def test_tokens_are_counted_as_the_endpoint_says_and_at_most_where_it_says_nothing(
    server: Server, engines: Any
) -> None:
    counted = list[tuple[int, int]]()
    engine = engines(server.url, count=lambda read, written: counted.append((read, written)))
    engine.generate([user_chat("abc")], GenerationOptions(max_tokens=4))
    assert counted == [(3 + 16, 5)], "a token for each byte, and those of a template"
    reply = {
        "choices": [{"message": {"content": "x"}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    }
    server.reply = reply
    engine.generate([user_chat("abc")], GenerationOptions(max_tokens=4))
    assert counted[1] == (7, 2)


def test_a_passing_failure_is_tried_again(server: Server, engines: Any) -> None:
    server.failures = [503, 429]
    (answer,) = ask(engines(server.url), ["x"])
    assert answer.text == " X " and answer.error is None and len(server.requests) == 3


def test_a_lasting_failure_costs_one_item_and_says_why(server: Server, engines: Any) -> None:
    server.failures = [500, 500, 500]
    first, second = ask(engines(server.url, concurrency=1), ["x", "y"])
    assert first.text is None and first.error and "HTTP 500" in first.error and "told to fail" in first.error
    assert second.text == " Y "


def test_a_refusal_is_not_tried_again(server: Server, engines: Any) -> None:
    server.failures = [401]
    (answer,) = ask(engines(server.url), ["x"])
    assert answer.error and "HTTP 401" in answer.error and len(server.requests) == 1


def test_a_reply_that_is_no_completion_is_an_error_of_its_item(server: Server, engines: Any) -> None:
    server.reply = {"surprise": 1}
    (answer,) = ask(engines(server.url), ["x"])
    assert answer.text is None and answer.error and "no chat completion" in answer.error


def test_the_key_goes_into_the_header_and_nowhere_else(server: Server, engines: Any) -> None:
    ask(engines(server.url, model="m", api_key="s3cret"), ["x"])
    assert server.keys == ["Bearer s3cret"] and "s3cret" not in json.dumps(server.requests)


def test_a_key_that_a_reply_repeats_is_in_no_answer_and_in_no_part_of_an_error(
    server: Server, engines: Any
) -> None:
    key = "sk-telltale-0123456789-abcdefgh"
    for before in range(170, 200, 3):
        server.reply = {"note": "x" * before + key}
        (result,) = ask(engines(server.url, model="m", api_key=key), ["a"])
        assert result.error and "no chat completion" in result.error and key[:8] not in result.error
    server.reply = {"choices": [{"message": {"role": "assistant", "content": f"you sent {key}"}}]}
    assert ask(engines(server.url, model="m", api_key=key), ["a"])[0].text == "you sent ***"


def test_a_key_that_a_server_repeats_is_not_told(server: Server, engines: Any) -> None:
    server.failures, server.failure = [400], {"error": "bad key: Bearer sk-telltale"}
    (result,) = engines(server.url, api_key="sk-telltale").generate([user_chat("a")], GenerationOptions())
    assert "sk-telltale" not in str(result) and "Bearer ***" in str(result.error)


def test_half_of_a_surrogate_pair_in_a_reply_can_be_written(server: Server, engines: Any) -> None:
    server.reply = {"choices": [{"message": {"role": "assistant", "content": "a\ud800b"}}]}
    (result,) = engines(server.url).generate([user_chat("a")], GenerationOptions())
    assert result.text == "a?b"


def test_an_endpoint_that_is_not_there_fails_at_once(engines: Any) -> None:
    with pytest.raises(BackendError, match="cannot reach"):
        EndpointEngine("http://127.0.0.1:9", timeout_s=1)


def test_reason_and_tokens_come_from_the_reply_and_are_nothing_without_them(
    server: Server, engines: Any
) -> None:
    (bare,) = ask(engines(server.url), ["x"])
    assert (bare.finish_reason, bare.tokens_in, bare.tokens_out) == ("stop", 0, 0)
    choice = {"message": {"role": "assistant", "content": "cut he"}, "finish_reason": "length"}
    server.reply = {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    (cut,) = ask(engines(server.url), ["x"])
    assert (cut.is_cut, cut.tokens_in, cut.tokens_out) == (True, 5, 2)


def test_only_what_was_asked_for_is_sent(server: Server, engines: Any) -> None:
    engine = engines(server.url, model="m")
    engine.generate([user_chat("x")], GenerationOptions(max_tokens=9))
    engine.generate([user_chat("x")], GenerationOptions(max_tokens=9, temperature=0.5, top_k=3, seed=4))
    engine.generate([user_chat("x")], GenerationOptions(stop=("a", "b")))
    greedy, drawn, stopped = server.requests
    assert set(greedy) == {"model", "messages", "temperature", "max_tokens"}
    assert (drawn["temperature"], drawn["top_k"], drawn["top_p"], drawn["seed"]) == (0.5, 3, 1.0, 4)
    assert stopped["stop"] == ["a", "b"]


def test_a_prompt_that_the_endpoint_calls_too_long_is_refused_not_failed(
    server: Server, engines: Any
) -> None:
    server.failures = [400]
    server.failure = {"error": {"message": "too long by far", "code": "context_length_exceeded"}}
    (refused,) = ask(engines(server.url), ["x"])
    assert (refused.text, refused.finish_reason, refused.error) == (None, "refused", "too long by far")
    server.failures, server.failure = [400], {"error": {"message": "no", "code": "bad_request"}}
    (failed,) = ask(engines(server.url), ["x"])
    assert failed.finish_reason == "error" and "HTTP 400" in str(failed.error)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("0.2", 0.2),
        ("-5", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        (None, 0.0),
        ("Wed, 21 Oct 2015 07:28:07 GMT", 7.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Thu, 21 Oct 2115 07:28:00 GMT", 60.0),
    ],
)
def test_a_limit_of_the_endpoint_is_waited_for_as_it_asks(
    server: Server, asked: str | None, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("opswright.engines.endpoint_client.sleep", pauses.append)
    monkeypatch.setattr("opswright.engines.endpoint_client.time", lambda: 1445412480.0)  # 07:28:00
    server.failures, server.retry_after = [429], asked
    engine = EndpointEngine(server.url, pause_s=0.01)
    assert engine.generate([user_chat("hi")], GenerationOptions())[0].text == " HI "
    assert pauses == [max(0.01, waited)]
    engine.close()


def test_an_endpoint_is_asked_no_faster_than_the_asker_says(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("opswright.engines.endpoint_client.monotonic", lambda: clock[0])
    pauses: list[float] = []
    monkeypatch.setattr("opswright.engines.endpoint_client.sleep", pauses.append)
    engine = EndpointEngine(server.url, concurrency=1, requests_per_minute=120)
    engine.generate([user_chat(str(i)) for i in range(4)], GenerationOptions())
    assert sorted(pauses) == pytest.approx([0.0, 0.5, 1.0, 1.5])
    engine.close()


def test_tool_calls_without_a_text_are_the_answer(server: Server) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "book", "arguments": '{"city": "Oslo"}'}}
    server.reply = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    engine = EndpointEngine(server.url)
    answer = engine.generate([user_chat("hi")], GenerationOptions())[0]
    assert json.loads(str(answer.text)) == [{"name": "book", "arguments": '{"city": "Oslo"}'}]
    engine.close()


BODY = b'{"choices": [{"message": {"role": "assistant", "content": "late"}}]}'
HEAD = b"HTTP/1.1 200 OK\r\n"
SLOWLY = {
    "status": [bytes([byte]) for byte in HEAD],
    "headers": [HEAD, *[b"X-%d: y\r\n" % number for number in range(20)]],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 20 + [HEAD],
    "body": [HEAD, b"Content-Length: %d\r\n\r\n" % len(BODY), *[bytes([byte]) for byte in BODY]],
}


@pytest.mark.parametrize("where", SLOWLY)
def test_a_reply_that_falls_in_drops_is_late_wherever_it_is_slow(engines: Any, where: str) -> None:
    """It would be whole, and an answer, after a second."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            for piece in SLOWLY[where]:
                connection.sendall(piece)
                time.sleep(0.05)
            if where != "body":
                connection.sendall(b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    (late,) = ask(engines(url, model="m", tries=1, timeout_s=0.3), ["x"])
    assert late.text is None and "ReadTimeout" in str(late.error)
    thread.join()
    listener.close()


def test_no_more_requests_are_under_way_than_are_allowed(
    engines: Any, start_server: Callable[[BaseServer], None]
) -> None:
    class Busy(Server):
        now = most = 0
        full = threading.Event()  # as many were under way as are allowed: nobody is answered before

    class Slow(Handler):
        server: Busy

        def do_POST(self) -> None:
            with self.server.guard:
                self.server.now += 1
                self.server.most = max(self.server.most, self.server.now)
                if self.server.now == 3:
                    self.server.full.set()
            self.server.full.wait(timeout=60)
            time.sleep(0.02)
            with self.server.guard:
                self.server.now -= 1
            super().do_POST()

    busy = Busy()
    busy.RequestHandlerClass = Slow
    start_server(busy)
    answers = ask(engines(busy.url, concurrency=3), [f"p{number}" for number in range(15)])
    assert all(one.error is None for one in answers) and busy.most == 3


def test_what_is_tried_again_counts_against_the_limit_of_a_minute(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("opswright.engines.endpoint_client.monotonic", lambda: clock[0])
    pauses: list[float] = []
    monkeypatch.setattr("opswright.engines.endpoint_client.sleep", pauses.append)
    server.failures = [503, 503]
    engine = EndpointEngine(server.url, concurrency=1, requests_per_minute=60, pause_s=0.001)
    assert engine.generate([user_chat("x")], GenerationOptions())[0].text == " X "
    assert [pause for pause in pauses if pause not in (0.001, 0.002)] == [0.0, 1.0, 2.0]
    engine.close()
