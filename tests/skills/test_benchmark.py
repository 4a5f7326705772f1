"""The benchmark skill against a stand-in for OpenAI-compatible servers, which misbehaves as it is told.

Its replies have the shapes that vLLM's and SGLang's sources give them; neither was ever run here.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from opswright.core.artifact_refs import parse_ref
from opswright.core.artifacts import Artifact
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, HeldError
from opswright.core.machine import Machine
from opswright.evals.load.comparison import compare_load, render_comparison
from opswright.evals.load.figures import is_served_well
from opswright.evals.load.report import find_report, load_board, read_load_report, render_board
from opswright.evals.load.streamed import RequestRecord, with_usage
from opswright.skills.benchmark import BenchmarkRequest, BenchmarkResult, benchmark

SUITE = """\
task: generate
samples:
  - {text: "what is the weather", target: x}
  - {text: "transfer money", target: x}
"""


class StandIn:
    """A server on a port, in a thread of its own; `how` is what it does to the n-th request it gets."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {"data": [{"id": "tiny", "owned_by": "vllm", "max_model_len": 2048}]}
        self.routes: dict[str, Any] = {"/version": {"version": "0.99.0"}}
        self.how: Callable[[int], str] = lambda number: ""
        self.pause_s = 0.002
        self.tokens = 6
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.at_once = self.most_at_once = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers.get("authorization", ""))
        if request.path == "/v1/models":
            return web.json_response(self.models)
        if request.path in self.routes:
            return web.json_response(self.routes[request.path])
        if request.path != "/v1/chat/completions":
            return web.json_response({}, status=404)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.complete(request)
        finally:
            self.at_once -= 1

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        how = self.how(len(self.bodies) - 1)
        if how == "busy":
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "0.05"})
        if how == "wait":
            return web.json_response({"error": "later"}, status=429, headers={"Retry-After": "50"})
        if how == "echo at the end":
            said = f"{'not with this: ':>190}{request.headers['authorization'].split()[1]}"
            return web.Response(text=said.replace(" ", "-"), status=401)
        if how == "echo":
            said = f"not with {request.headers['authorization']}"
            return web.json_response({"error": said}, status=401)
        if how == "broken":
            return web.json_response({"error": "sorry"}, status=500)
        if how == "whole":
            return web.json_response({"choices": [{"message": {"content": "no stream"}}]})
        reply = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await reply.prepare(request)
        await self.say(reply, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for number in range(self.tokens if how != "empty" else 0):
            await asyncio.sleep(5 if how == "drip" and number else self.pause_s)
            if how == "cut" and number == 3:
                assert request.transport is not None
                request.transport.close()
                return reply
            if how == "ended" and number == 3:
                return reply
            if how == "nonsense" and number == 3:
                await reply.write(b"data: {no json\n\n")
            if how == "fault" and number == 3:
                await self.say(reply, {"error": {"message": "out of memory"}})
            await reply.write(b": ping\r\n\r\n")
            await self.say(reply, {"choices": [{"delta": {"content": f" w{number}"}}]})
        finish = "e" * 1_000_000 if how == "long end" else "length"
        await self.say(reply, {"choices": [{"delta": {}, "finish_reason": finish}]})
        made: Any = {"many": 6000, "none at all": None, "negative": -3, "a word": "six"}.get(how, self.tokens)
        if how != "no usage":
            usage = {"prompt_tokens": 4, "completion_tokens": made}
            await self.say(reply, {"choices": [], "usage": usage})
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async def say(self, reply: web.StreamResponse, chunk: dict[str, Any]) -> None:
        await reply.write(f"data: {json.dumps(chunk)}\n\n".encode())


@pytest.fixture
def start_stand_in() -> Iterator[Callable[[StandIn], str]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    def start(server: StandIn) -> str:
        async def up() -> str:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.answer)
            runners.append(runner := web.AppRunner(app, shutdown_timeout=0.1))
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        return asyncio.run_coroutine_threadsafe(up(), loop).result()

    yield start
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "load.yaml"
    path.write_text(SUITE)
    return path


Measure = Callable[..., tuple[BenchmarkResult, Artifact]]


@pytest.fixture
def measure(context: Any, suite: Path, start_stand_in: Callable[[StandIn], str]) -> Measure:
    def run(server: StandIn, **options: Any) -> tuple[BenchmarkResult, Artifact]:
        ctx: StepContext = context()
        given = {"concurrency": (1,), "requests": 12, "warmup": 0, "output_tokens": 6, **options}
        found = benchmark(BenchmarkRequest(model=start_stand_in(server), suite=str(suite), **given), ctx)
        return found, ctx.artifacts.open(found.report)

    return run


def test_latencies_and_rates_are_what_the_server_does(measure: Measure) -> None:
    server = StandIn()
    server.pause_s = 0.02
    found, report = measure(server, concurrency=(1, 4), goodput={"ttft_ms": 60_000})
    one, four = found.levels
    assert (one.completed, one.failed, four.completed) == (12, 0, 12)
    assert one.ttft_p50_ms is not None and one.tpot_p50_ms is not None and one.e2el_p50_ms is not None
    assert 20 <= one.ttft_p50_ms < one.e2el_p50_ms and one.tpot_p50_ms >= 20
    assert one.e2el_p50_ms >= 6 * 20
    assert four.output_tokens_per_s > 1.5 * one.output_tokens_per_s
    assert one.output_tokens_per_s == pytest.approx(6 * one.requests_per_s)
    assert one.goodput_requests_per_s == pytest.approx(one.requests_per_s)
    assert server.most_at_once == 4 and len(server.bodies) == 24
    assert {"report.json", "report.html", "report.png", "requests.jsonl"} <= set(report.files)
    assert (report.path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "Time to first token" in (report.path / "report.html").read_text()


def test_warm_up_requests_are_sent_and_not_counted(measure: Measure) -> None:
    server = StandIn()
    server.how = lambda number: "broken" if number < 5 else ""
    found, _ = measure(server, warmup=5)
    assert len(server.bodies) == 17 and (found.levels[0].completed, found.levels[0].failed) == (12, 0)


def test_what_an_endpoint_was_asked_is_the_steps_spending_warm_up_too(
    context: Any, suite: Path, start_stand_in: Callable[[StandIn], str]
) -> None:
    ctx, url = context(), start_stand_in(StandIn())
    given = {"concurrency": (1,), "requests": 12, "warmup": 3, "output_tokens": 6}
    asked = BenchmarkRequest(model=url, suite=str(suite), **given)
    benchmark(asked, ctx)
    told = ctx.endpoints[url]
    assert told["tokens"] == told["unpriced_tokens"] == ctx.spent["tokens"] == 15 * (4 + 6)
    expected = benchmark.estimate(asked, Machine.here(ctx.workspace.root), ctx.workspace)
    assert expected.usd is None and expected.tokens >= ctx.spent["tokens"]


def test_a_level_may_last_a_time_instead(measure: Measure) -> None:
    found, report = measure(StandIn(), requests=1, seconds=0.5)
    assert found.levels[0].completed > 3
    assert 0.5 <= report.facts["levels"][0]["seconds"] < 30


@pytest.mark.parametrize(
    ("how", "counted_as"),
    [
        ("broken", "http_500"),
        ("whole", "not_a_stream"),
        ("cut", "cut"),
        ("ended", "cut"),
        ("nonsense", "bad_chunk"),
        ("fault", "error_event"),
        ("empty", "no_tokens"),
    ],
)
def test_what_is_no_whole_answer_is_counted_and_in_no_latency(
    measure: Measure, how: str, counted_as: str
) -> None:
    server = StandIn()
    server.how = lambda number: how if number % 3 == 0 else ""
    found, report = measure(server)
    level = found.levels[0]
    assert (level.completed, level.errors) == (8, {counted_as: 4})
    assert level.output_tokens_per_s * report.facts["levels"][0]["seconds"] == pytest.approx(8 * 6, rel=0.05)
    assert f"4 {counted_as}" in found.note


def test_a_stream_that_drips_is_ended_by_the_clock(measure: Measure) -> None:
    server = StandIn()
    server.how = lambda number: "drip" if number == 0 else ""
    found, report = measure(server, requests=3, timeout_s=1.0)
    assert found.levels[0].errors == {"timeout": 1}
    (late,) = (one for one in read_load_report(report).records[1] if one.error)
    assert 900 < late.e2el_ms < 4000


def test_a_server_that_asks_to_wait_is_waited_for(measure: Measure) -> None:
    server = StandIn()
    server.how = lambda number: "busy" if number < 4 else ""
    found, report = measure(server)
    assert found.levels[0].errors == {"rate_limited": 4}
    assert report.facts["levels"][0]["retry_after_s"] == pytest.approx(0.2)
    assert report.facts["levels"][0]["seconds"] > 0.2 and "Retry-After" in found.note


@pytest.mark.parametrize("how", ["no usage", "many", "none at all", "negative", "a word"])
def test_a_count_that_is_none_is_not_believed_and_said(measure: Measure, how: str) -> None:
    server = StandIn()
    server.how = lambda number: how
    found, _ = measure(server)
    assert found.counted_by == "chunks" and "chunks were counted" in found.note and "usage" in found.note


@pytest.mark.parametrize(
    ("models", "routes", "name", "fixes_length"),
    [
        (
            {"id": "m", "owned_by": "vllm", "max_model_len": 2048},
            {"/version": {"version": "0.11.0"}},
            "vllm 0.11.0",
            True,
        ),
        (
            {"id": "m", "owned_by": "sglang", "max_model_len": 131072},
            {
                "/get_model_info": {"model_path": "/m", "is_generation": True},
                "/get_server_info": {"version": "0.5.4", "api_key": "sk-very-secret", "tp_size": 2},
            },
            "sglang 0.5.4",
            True,
        ),
        ({"id": "m", "owned_by": "me"}, {"/version": {"version": "9"}}, "me", False),
        ({"id": "m"}, {}, "unnamed server", False),
    ],
)
def test_a_server_is_what_it_says_and_no_more(
    measure: Measure, models: Any, routes: Any, name: str, fixes_length: bool
) -> None:
    server = StandIn()
    server.models, server.routes = {"data": [models]}, routes
    found, report = measure(server)
    assert (found.server, found.served_model) == (name, "m")
    assert all(body.get("ignore_eos", False) is fixes_length for body in server.bodies)
    assert "sk-very-secret" not in json.dumps(dict(report.facts))


def test_a_key_is_sent_and_kept_nowhere(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-of-theirs")
    server = StandIn()
    server.models["data"][0]["owned_by"] = "whoever asks with sk-of-theirs"
    server.routes = {}
    server.how = lambda number: "" if number else "echo"
    _, report = measure(server, key="secret:env:THEIR_KEY")
    assert report.facts["levels"][0]["errors"] == {"http_401": 1}
    assert "sk-of-theirs" not in json.dumps(dict(report.facts))
    assert set(server.headers) == {"Bearer sk-of-theirs"}
    assert not any(b"sk-of-theirs" in path.read_bytes() for path in report.path.iterdir())


def test_nothing_of_a_key_is_kept_that_is_cut_at_the_end_of_what_is_kept(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-of-theirs")
    server = StandIn()
    server.how = lambda number: "" if number else "echo at the end"
    _, report = measure(server, key="secret:env:THEIR_KEY")
    assert b"not-with-this:-***" in (report.path / "requests.jsonl").read_bytes()
    assert not any(b"sk-of" in path.read_bytes() for path in report.path.iterdir())


def test_nothing_of_a_key_is_kept_of_what_a_server_says_it_is(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-of-theirs")
    server = StandIn()
    server.models["data"][0]["owned_by"] = f"{'o' * 54} sk-of-theirs"  # 60 are kept
    _, report = measure(server, key="secret:env:THEIR_KEY")
    assert not any(b"sk-of" in path.read_bytes() for path in report.path.iterdir())


def test_a_model_is_not_taken_by_a_name_that_nobody_would_type(measure: Measure) -> None:
    server = StandIn()
    server.models["data"][0]["id"] = "m" * 500_000
    with pytest.raises(BackendError, match="500,000 characters: give endpoint_model"):
        measure(server)


def test_a_level_lasts_no_longer_because_a_server_asks_to_wait(measure: Measure) -> None:
    server = StandIn()
    server.how = lambda number: "wait" if number else ""
    began = time.monotonic()
    found, _ = measure(server, requests=1, seconds=0.5)
    assert found.levels[0].errors == {"rate_limited": 1} and time.monotonic() - began < 40


def test_a_server_makes_no_record_long(measure: Measure) -> None:
    server = StandIn()
    server.how = lambda number: "long end"
    _, report = measure(server)
    assert (report.path / "requests.jsonl").stat().st_size < 50_000


def test_a_run_that_is_stopped_keeps_what_it_has(
    context: Any, suite: Path, start_stand_in: Callable[[StandIn], str]
) -> None:
    server = StandIn()
    ctx: StepContext = context()

    def stop(number: int) -> str:
        if number == 20:
            ctx.cancelled.set()
        return ""

    server.how = stop
    ask = BenchmarkRequest(
        model=start_stand_in(server), suite=str(suite), concurrency=(1, 2), requests=5000, warmup=0
    )
    with pytest.raises(HeldError, match="stopped by a person"):
        benchmark(ask, ctx)
    (row,) = load_board(ctx.artifacts)
    assert row.completed >= 19 and not row.is_complete
    assert "(stopped)" in render_board([row])


def test_nobody_there_is_said_at_once(context: Any, suite: Path, free_port: Callable[[], int]) -> None:
    ask = BenchmarkRequest(model=f"http://127.0.0.1:{free_port()}", suite=str(suite))
    with pytest.raises(BackendError, match="cannot reach the endpoint"):
        benchmark(ask, context())


def test_two_endpoints_in_turns_differ_where_they_do(
    measure: Measure, start_stand_in: Callable[[StandIn], str], context: Any
) -> None:
    slow = StandIn()
    slow.pause_s = 0.02
    found, report = measure(StandIn(), against=start_stand_in(slow), requests=36, turns=6, concurrency=(2,))
    assert found.differences["e2el p50 ms at 2"].endswith("B is better")
    assert found.differences["output_tokens_per_s at 2"].endswith("B is better")
    assert found.against is not None
    ctx: StepContext = context()
    told = compare_load(find_report(ctx.artifacts, found.against[:30]), report)
    assert not told.notes and "B is better" in render_comparison(told)
    assert [row.name for row in told.rows if row.verdict == "B is worse"] == []


def test_two_that_were_measured_apart_are_told_to_be(measure: Measure) -> None:
    (_, one), (_, other) = measure(StandIn(), requests=24), measure(StandIn(), requests=24)
    assert "one after the other" in " ".join(compare_load(one, other).notes)


def test_what_was_asked_otherwise_is_not_compared(measure: Measure) -> None:
    (_, one), (_, other) = measure(StandIn()), measure(StandIn(), output_tokens=7)
    with pytest.raises(AskError, match="not asked the same: output_tokens"):
        compare_load(one, other)


@pytest.mark.parametrize(
    ("usage", "most", "counted_by"),
    [
        ({"completion_tokens": 5, "prompt_tokens": 3}, 8, "usage"),
        ({"completion_tokens": 9}, 8, "chunks"),
        ({"completion_tokens": True}, 8, "chunks"),
        ({"completion_tokens": 0}, 8, "chunks"),
        ([], 8, "chunks"),
        (None, 8, "chunks"),
    ],
)
def test_usage_is_believed_when_it_can_be(usage: Any, most: int, counted_by: str) -> None:
    record = RequestRecord(0.0, 0, tokens_out=3, counted_by="chunks", text="abc")
    assert with_usage(record, usage, most).counted_by == counted_by


def test_a_prompt_of_no_possible_length_is_not_believed() -> None:
    usage = {"completion_tokens": 3, "prompt_tokens": 10**4299}  # two of them are more than JSON can hold
    assert with_usage(RequestRecord(0.0, 0, tokens_out=3), usage, 8).tokens_in is None


def test_goodput_counts_only_what_met_every_limit() -> None:
    record = RequestRecord(0.0, 0, ttft_ms=100, e2el_ms=400, tokens_out=4, counted_by="usage")
    assert is_served_well(record, {"ttft_ms": 100, "tpot_ms": 100})
    assert not is_served_well(record, {"ttft_ms": 99}) and not is_served_well(record, {"tpot_ms": 99})
    assert not is_served_well(RequestRecord(0.0, 0, error="cut"), {})


def test_a_reference_of_a_report_may_be_cut(measure: Measure, context: Any) -> None:
    found, report = measure(StandIn())
    ctx: StepContext = context()
    assert find_report(ctx.artifacts, found.report[:28]).ref == parse_ref(str(report.ref))
    with pytest.raises(AskError, match="names 0 benchmark reports"):
        find_report(ctx.artifacts, "benchmark-report:000000")
