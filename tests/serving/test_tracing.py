"""Traces of requests, as a collector gets them: each step with its time and what came of it, never a text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="not run: the extra tracing is missing")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from opswright.core.errors import AskError
from opswright.core.settings import load_settings
from opswright.serving.server import ServerDown

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.serving.conftest import House

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """An OTLP/HTTP receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.paths.add(self.path)
                collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Span]:
        """Every span that came, those that ended first at the front."""
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def traced(house: House, reopened: Callable[..., None], collector: Collector) -> House:
    """A house with rails whose traces go to the collector."""
    reopened(tracing={"endpoint": collector.url})
    house.rollout().deploy(house.bundle("one"), house.guardrails(), 100)
    house.server.generations.clear()
    return house


def told(span: Span) -> dict[str, Any]:
    values = {one.key: one.value for one in span.attributes}
    return {key: getattr(value, value.WhichOneof("value") or "") for key, value in values.items()}


def sent(house: House, collector: Collector) -> dict[str, Span]:
    """The spans by name, once all are sent."""
    tracing = house.tracing
    assert tracing is not None
    tracing.close()
    return {span.name: span for span in collector.spans}


def test_a_request_is_a_span_with_its_steps_below_it(traced: House, collector: Collector) -> None:
    assert traced.chat("hello").status_code == 200
    spans = sent(traced, collector)
    root = spans.pop("chat support")
    assert list(spans) == ["rails of the input", "queue", "engine", "rails of the answer"]
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    for span in spans.values():
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    found = told(root)
    assert found["gen_ai.request.model"] == "support" and found["gen_ai.operation.name"] == "chat"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (4, 3)
    assert (found["opswright.status"], found["opswright.route"]) == ("ok", "stable")
    assert collector.paths == {"/v1/traces"}


def test_it_is_a_part_of_the_callers_trace_and_the_engine_gets_a_part_of_it(
    traced: House, collector: Collector
) -> None:
    traced.chat("hello", {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
    spans = sent(traced, collector)
    root, engine = spans["chat support"], spans["engine"]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    (ask,) = traced.server.generations
    passed_on = {"traceparent": f"00-{TRACE}-{engine.span_id.hex()}-01", "tracestate": "vendor=1"}
    assert dict(ask.trace_headers) == passed_on


@pytest.mark.parametrize("given", ["nonsense", "00-0-0-01", f"00-{'0' * 32}-{PARENT}-01", "x" * 5000])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(
    traced: House, collector: Collector, given: str
) -> None:
    assert traced.chat("hello", {"traceparent": given}).status_code == 200
    assert sent(traced, collector)["chat support"].parent_span_id == b""


def test_a_caller_that_does_not_trace_is_not_traced(traced: House, collector: Collector) -> None:
    traced.chat("hello", {"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert sent(traced, collector) == {}
    (ask,) = traced.server.generations
    assert dict(ask.trace_headers)["traceparent"].endswith("-00")


@pytest.mark.parametrize("stream", [False, True])
def test_no_text_of_a_request_or_an_answer_is_in_a_trace(
    traced: House, collector: Collector, stream: bool
) -> None:
    traced.server.says = " a private answer"
    traced.chat("my private question", {"x-request-id": "ann@example.com"}, stream=stream, user="ann")
    traced.chat("a bomb, privately", stream=stream)
    assert len(sent(traced, collector)) > 1
    everything = b"".join(collector.bodies)
    for said in (b"private", b"bomb", b"ann@example.com", b'"ann"'):
        assert said not in everything


def test_a_block_and_a_failure_are_told_by_their_kind(traced: House, collector: Collector) -> None:
    traced.chat("a bomb")
    traced.server.ails[1] = "error"
    traced.chat("hello")
    sent(traced, collector)
    blocked, failed = (span for span in collector.spans if span.name == "chat support")
    assert (told(blocked)["opswright.rail"], told(blocked)["opswright.status"]) == ("topics", "blocked")
    assert (told(failed)["error.type"], failed.status.code) == ("BackendError", 2)
    engine = next(span for span in collector.spans if span.name == "engine")
    assert told(engine)["error.type"] == "BackendError"


def test_a_stream_that_breaks_is_asked_again_within_one_trace(traced: House, collector: Collector) -> None:
    usual = traced.server.stream
    broken: list[Any] = []

    async def once(name: str, ask: Any) -> Any:
        if not broken:
            broken.append(ask)
            raise ServerDown("gone")
        async for piece in usual(name, ask):
            yield piece

    traced.server.stream = once  # type: ignore[method-assign]
    reply = traced.chat("hello", stream=True)
    assert "answer" in reply.text
    sent(traced, collector)
    engines = [span for span in collector.spans if span.name == "engine"]
    assert [told(span).get("error.type") for span in engines] == ["ServerDown", None]


def test_a_collector_that_is_gone_costs_no_request(
    house: House, reopened: Callable[..., None], free_port: Callable[[], int]
) -> None:
    reopened(tracing={"endpoint": f"http://127.0.0.1:{free_port()}"})
    house.rollout().deploy(house.bundle("one"), None, 100)
    assert [house.chat("hello").status_code for _ in range(20)] == [200] * 20


def test_without_a_collector_nothing_is_traced_nor_passed_on(served: House) -> None:
    served.chat("hello", {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    (ask,) = served.server.generations
    assert (served.tracing, ask.trace_headers) == (None, ())


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(AskError, match=r"serving\.tracing\.endpoint"):
        load_settings(serving={"tracing": {"endpoint": "localhost:4318"}})


def test_the_probes_of_the_workspace_are_no_traces(traced: House, collector: Collector) -> None:
    traced.chat("hello", {"x-opswright-control": "control-token"})
    assert sent(traced, collector) == {}
