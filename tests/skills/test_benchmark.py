"""The benchmark skill against a stand-in for OpenAI-compatible servers, which misbehaves as it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import parse_ref
from opswright.core.artifacts import Artifact
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, BackendError, HeldError
from opswright.core.machine import Machine
from opswright.evals.load.comparison import compare_load, render_comparison
from opswright.evals.load.report import find_report, load_board, read_load_report, render_board
from opswright.skills.benchmark import BenchmarkRequest, BenchmarkResult, benchmark

from .stand_in import StandIn, serving

SUITE = """\
task: generate
samples:
  - {text: "what is the weather", target: x}
  - {text: "transfer money", target: x}
"""


@pytest.fixture
def start_stand_in() -> Iterator[Callable[[StandIn], str]]:
    with serving() as start:
        yield start


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
    assert benchmark.estimate is not None
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


def test_a_reference_of_a_report_may_be_cut(measure: Measure, context: Any) -> None:
    found, report = measure(StandIn())
    ctx: StepContext = context()
    assert find_report(ctx.artifacts, found.report[:28]).ref == parse_ref(str(report.ref))
    with pytest.raises(AskError, match="names 0 benchmark reports"):
        find_report(ctx.artifacts, "benchmark-report:000000")
