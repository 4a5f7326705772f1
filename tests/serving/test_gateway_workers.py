"""What several workers keep together: the log, limits, metrics, and what counts as served."""

from __future__ import annotations

import json
import multiprocessing
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from opswright.core.settings import load_settings
from opswright.core.settings.serving import QueueSettings, ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.gateway.__main__ import serve
from opswright.serving.gateway.feedback import Feedback, FeedbackLog, latest_feedback
from opswright.serving.gateway.merged_state import merged_readiness, merged_states
from opswright.serving.gateway.metrics import GatewayMetrics
from opswright.serving.gateway.metrics_sum import KeptMetrics
from opswright.serving.gateway.peers import METRICS_PATH, READY_PATH, STATE_PATH, Peers, WorkerReply
from opswright.serving.gateway.request_queue import RequestQueue, UnavailableError
from opswright.serving.gateway.segments import Retention, SegmentWriter, json_line, segments
from opswright.serving.gateway.traffic_log import TrafficLog, TrafficRow, last_before, read, row_of
from opswright.serving.ports import held_port
from opswright.serving.releases import read_state, write_state
from opswright.serving.server import ServedModel
from opswright.serving.workers import GatewayWorker, worker_records

if TYPE_CHECKING:
    from tests.serving.conftest import House

CONTROL = "control-token"  # the house's
HALVES = [GatewayWorker(number, 2) for number in (0, 1)]


def row(id: str, second: float = 0, **fields: Any) -> TrafficRow:
    facts: dict[str, Any] = {"text": "q" * 300, "output": "a", "rail": None, "latency_ms": 2.0, **fields}
    time = f"2026-01-01T00:00:{second:06.3f}Z"
    return TrafficRow(
        time=time, id=id, release="v1-abc", route="stable", status="ok", model_version=1, **facts
    )


def _write_rows(folder: Path, name: str, count: int) -> None:
    log = TrafficLog(folder, segment_bytes=20_000)
    for number in range(count):
        assert log.append(row(f"{name}{number}", number * 59 / count))
    log.close()


def test_rows_of_several_writers_are_all_there_and_whole(workspace: Workspace) -> None:
    folder = workspace.endpoints / "support"
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_write_rows, args=(folder, name, 800)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    paths = segments(folder, "traffic")
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    assert len(paths) > 5 and all(path.stat().st_size < 22_000 for path in paths)
    assert all(row_of(line) is not None for line in lines if line)  # none is cut, none holds two
    found = [one.id for one in read(workspace, "support")]
    assert sorted(found) == sorted(f"{name}{number}" for name in "abc" for number in range(800))


def test_a_row_goes_to_the_newest_segment_whoever_began_it(workspace: Workspace) -> None:
    one, other = (TrafficLog(workspace.endpoints / "support", segment_bytes=1000) for _ in range(2))
    one.append(row("a", 1))
    other.append(row("b", 2))
    for number in range(9):  # one goes on to further segments
        one.append(row(f"c{number}", 3))
    other.append(row("d", 4))
    last = segments(workspace.endpoints / "support", "traffic")[-1]
    assert b'"d"' in last.read_bytes()
    assert [found.id for found in read(workspace, "support")][-1] == "d"


def test_a_row_is_not_written_into_a_segment_that_another_removed(tmp_path: Path) -> None:
    one, other = (SegmentWriter(tmp_path, "t", keep=Retention(90, 10**6)) for _ in range(2))
    line = {"time": "2026-01-01T00:00:00.000Z"}
    one.append(json_line(line), line["time"])
    for path in segments(tmp_path, "t"):
        path.unlink()
    assert one.append(json_line(line), line["time"])
    assert other.append(json_line(line), line["time"])
    assert sum(path.read_bytes().count(b"\n") for path in segments(tmp_path, "t")) == 2


def test_a_row_that_another_writer_was_killed_in_costs_no_other(workspace: Workspace) -> None:
    one = TrafficLog(workspace.endpoints / "support")
    one.append(row("a", 1))
    (path,) = segments(workspace.endpoints / "support", "traffic")
    with path.open("ab") as file:
        file.write(b'{"time":"2026-01-01T00:00:02')  # of another process
    one.append(row("b", 3))
    assert [found.id for found in read(workspace, "support")] == ["a", "b"]


def test_rows_that_changed_places_are_read_by_their_times(workspace: Workspace) -> None:
    log = TrafficLog(workspace.endpoints / "support")
    for name, second in (("a", 1), ("c", 3), ("b", 2), ("e", 5), ("d", 4)):
        log.append(row(name, second))
    assert [one.id for one in read(workspace, "support")] == list("abcde")
    assert [one.id for one in read(workspace, "support", after="2026-01-01T00:00:02Z")] == list("cde")
    last = last_before(workspace, "support", "2026-01-01T00:00:04Z")
    assert last is not None and last.id == "d"
    assert (found := last_before(workspace, "support", "2026-01-01T00:00:59Z")) and found.id == "e"


def test_the_last_word_counts_whichever_worker_wrote_it_first(workspace: Workspace) -> None:
    log = FeedbackLog(workspace.endpoints / "support")
    for second, thumb in ((5, "up"), (4, "down")):
        log.append(Feedback(f"2026-01-01T00:00:0{second}.000Z", "r1", thumb, None))  # type: ignore[arg-type]
    assert latest_feedback(workspace, "support")["r1", ""].thumb == "up"


def test_places_of_a_queue_are_shared_among_workers_and_none_is_lost() -> None:
    settings = QueueSettings(at_once=5, waiting=2, caller_share=1)
    places = 0
    for worker in HALVES:
        queue = RequestQueue(settings, worker=worker)
        with pytest.raises(UnavailableError):
            for _ in range(100):
                queue.enter("")
                places += 1
    assert places == 7


def test_more_workers_than_places_are_refused() -> None:
    with pytest.raises(ValidationError, match="at_once"):
        ServingSettings(workers=3, queue=QueueSettings(at_once=2))
    with pytest.raises(ValidationError, match=r"external\.urls"):
        ServingSettings.model_validate(
            {"workers": 2, "external": {"urls": ["http://a:8000"], "repository": "/r"}}
        )


def told(metrics: GatewayMetrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_of_workers_are_added_up_and_gauges_are_right(tmp_path: Path) -> None:
    one, other = GatewayMetrics(), GatewayMetrics()
    for metrics, count in ((one, 3), (other, 4)):
        for _ in range(count):
            metrics.answered("support", row("x"))
        metrics.in_flight.set(count)
        metrics.set_missing({("support", "v1-abc"): 1})
    text = one.text_of(one.snapshot(), [json.loads(json.dumps(other.snapshot()))]).decode()
    labels = 'endpoint="support",release="v1-abc",route="stable"'
    assert f'opswright_requests_total{{{labels},status="ok"}} 7.0' in text
    assert f"opswright_latency_seconds_count{{{labels}}} 7.0" in text
    assert f'opswright_latency_seconds_bucket{{{labels[:18]},le="0.002",{labels[19:]}}} 7.0' in text
    assert "opswright_requests_in_flight 7.0" in text
    assert 'opswright_replicas_missing{endpoint="support",release="v1-abc"} 1.0' in text
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(text)}
    created = [s.value for s in families["opswright_requests_created"].samples]
    assert created == [min(_created(one), _created(other))]


def _created(metrics: GatewayMetrics) -> float:
    return next(
        value for name, value in told(metrics).items() if name.startswith("opswright_requests_created")
    )


def test_a_counter_that_was_told_never_falls_when_a_worker_is_killed(tmp_path: Path) -> None:
    kept = KeptMetrics(tmp_path / "metrics-1.json", supervisor=7)
    killed = GatewayMetrics()
    for _ in range(5):
        killed.answered("support", row("x"))
    kept.keep(killed.snapshot())
    killed.answered("support", row("x"))  # told to nobody
    successor = GatewayMetrics()
    successor.go_on_from(kept.read())
    successor.answered("support", row("x"))
    series = 'opswright_requests_total{endpoint="support",release="v1-abc",route="stable",status="ok"}'
    assert told(successor)[series] == 6.0
    assert "opswright_requests_in_flight" in told(successor)
    assert KeptMetrics(kept.path, supervisor=8).read() == {}  # another gateway counts from nothing
    kept.path.write_text('{"supervisor": 7, "fam')
    assert kept.read() == {}


def test_releases_of_killed_workers_do_not_add_up_for_ever(tmp_path: Path) -> None:
    kept = KeptMetrics(tmp_path / "metrics-0.json", supervisor=7)
    for life in range(6):
        metrics = GatewayMetrics()
        metrics.go_on_from(kept.read())
        for number in range(4):
            metrics.answered("support", replace(row("x"), release=f"v{life}-{number}"))
        kept.keep(metrics.snapshot())
    series = [name for name in told(metrics) if name.startswith("opswright_requests_total")]
    assert len(series) == 10 and any("v5-3" in name for name in series)


def state(serial: int, answers: bool = True, **fields: Any) -> dict[str, Any]:
    release: dict[str, Any] = {
        "answers": answers,
        "error": None,
        "in_flight": 1,
        "rails": True,
        "wanted": True,
        "missing": {},
    }
    endpoint = {"serial": serial, "fault": None, "releases": {"v1": {**release, **fields}}}
    return {"fault": None, "version": "2", "endpoints": {"support": endpoint}}


def replies(*documents: dict[str, Any] | None) -> list[WorkerReply]:
    return [WorkerReply(number, 100 + number, document) for number, document in enumerate(documents)]


def test_a_change_counts_when_every_worker_follows_it() -> None:
    merged = merged_states(replies(state(5), state(4)), 2)["endpoints"]["support"]
    assert merged["serial"] == 4 and merged["releases"]["v1"]["answers"]
    assert merged["releases"]["v1"]["in_flight"] == 2
    silent = merged_states(replies(state(5), None), 2)
    assert silent["endpoints"]["support"]["serial"] == -1
    assert not silent["endpoints"]["support"]["releases"]["v1"]["answers"]
    assert silent["workers"][1] == {"worker": 1, "pid": 101, "answers": False}
    unread = merged_states(replies(state(5), {"fault": None, "version": "", "endpoints": {}}), 2)
    assert unread["endpoints"]["support"]["serial"] == -1


def test_one_that_does_not_run_serves_nothing_old_and_is_named() -> None:
    found = merged_states(replies(state(5)), 2)
    assert found["endpoints"]["support"]["serial"] == 5
    assert found["workers"][1] == {"worker": 1, "pid": None, "answers": False}


def test_a_release_is_refused_when_one_worker_refuses_it_and_missing_names_who_lacks_it() -> None:
    merged = merged_states(replies(state(5), state(5, answers=False, error="no rails")), 2)
    release = merged["endpoints"]["support"]["releases"]["v1"]
    assert release["error"] == "no rails" and not release["answers"]
    assert release["missing"] == {"worker 1": ""}
    leaving = merged_states(replies(state(5, wanted=False), {**state(5), "endpoints": {}}), 2)
    assert leaving["endpoints"]["support"]["releases"]["v1"]["missing"] == {}


def test_readiness_is_that_of_all_that_answer() -> None:
    ready = {"ready": True, "serves": "abc", "releases": [], "traffic_rows_lost": 1}
    lacking = {**ready, "ready": False, "serves": "", "releases": [{"ready": False}]}
    assert merged_readiness(ready, replies(ready))["ready"]
    found = merged_readiness(ready, replies(lacking))
    assert not found["ready"] and found["releases"] and found["serves"] == ""
    assert found["traffic_rows_lost"] == 2
    assert merged_readiness(ready, replies(None))["ready"]  # users are answered by the other
    assert "workers" not in merged_readiness(ready, [])


class FakePeers(Peers):
    """Another worker, which needs what the test says; None: it gives no answer."""

    needs: set[tuple[str, str]] | None = None

    async def holding(self) -> set[tuple[str, str]] | None:
        return self.needs


@pytest.fixture
def peers(house: House) -> FakePeers:
    """The house as the first of two workers."""
    house.close()
    house.peers = found = FakePeers(house.workspace, HALVES[0])
    found.needs = set()
    house.open()
    return found


def test_a_release_leaves_only_when_no_other_worker_needs_it(house: House, peers: FakePeers) -> None:
    old = house.rollout().deploy(house.bundle("one"), None, 100).release
    peers.needs = {("support", old.id)}
    house.rollout().deploy(house.bundle("two"), None, 100)
    for _ in range(3):  # a worker that hangs may need it, too
        assert len(house.server.models) == 2
        assert house.chat("hello").status_code == 200
        peers.needs = None
    peers.needs = set()
    house.wait(lambda: len(house.server.models) == 1, "it leaves")


def test_a_first_worker_that_begins_anew_takes_out_nothing_that_others_still_route_to(
    house: House, peers: FakePeers
) -> None:
    old = house.rollout().deploy(house.bundle("one"), None, 100).release
    (left,) = house.server.models.values()
    house.server.ails[2] = "load"  # the next release takes its time
    state = read_state(house.workspace, "support")
    assert state.stable is not None
    coming = state.stable.model_copy(update={"id": "v2-coming", "number": 2})
    house.close()  # it dies when the change is written, and no worker has made it
    write_state(house.workspace, state.model_copy(update={"stable": coming}))
    house.server.left = {left.name: left}
    for needs in (None, {("support", old.id)}):
        peers.needs = needs
        house.open()
        house.wait(lambda: bool(house.server.loads), "it works on the change")
        time.sleep(0.3)
        assert list(house.server.models) == [left.name]
        if needs is None:
            house.close()
            house.server.loads.clear()
    peers.needs = {("support", coming.id)}
    house.wait(lambda: not house.server.models, "it leaves when nobody needs it")


def test_a_worker_that_is_not_the_first_waits_for_no_unload_and_counts_no_restart(
    house: House, peers: FakePeers
) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.close()
    house.peers = Peers(house.workspace, HALVES[1])
    house.server.left = {"stranger-v9": ServedModel("stranger-v9", 9, Path(), "v9-x", "onnx-int8")}
    house.open()
    house.wait(lambda: house.controller.is_settled, "it follows")
    assert "stranger-v9" in house.server.models  # the first worker's to take out
    house.server.is_up = False
    assert house.chat("hello").status_code == 200
    assert "opswright_server_restarts_total 0.0" in house.get("/metrics").text


def test_limits_of_a_worker_are_its_share(reopened: Callable[..., None], house: House) -> None:
    house.peers = Peers(house.workspace, HALVES[1])
    reopened(queue={"at_once": 3, "waiting": 1})
    house.rollout().deploy(house.bundle("one"), None, 100)
    queue = house.controller.endpoints["support"].queue
    queue.enter("")
    with pytest.raises(UnavailableError):
        queue.enter("")


@pytest.mark.parametrize("path", [STATE_PATH, READY_PATH, METRICS_PATH, "/-/state"])
def test_what_workers_tell_each_other_is_for_the_control_token_alone(house: House, path: str) -> None:
    assert house.get(path).status_code == 403
    assert house.get(path, {"x-opswright-control": "guessed"}).status_code == 403
    assert house.get(path, {"x-opswright-control": CONTROL}).status_code == 200


def test_nobody_takes_a_worker_s_own_port_while_it_ends() -> None:
    listener, holder = held_port()
    place = listener.getsockname()
    with socket.create_connection(place, timeout=10):
        pass
    listener.close()  # as uvicorn does first; then it drains for seconds, and its record still names the port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, timeout=10)
    for option in (None, socket.SO_REUSEADDR):
        with socket.socket() as stranger:
            if option is not None:
                stranger.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="in use"):
                stranger.bind(place)
    holder.close()


def test_a_worker_that_ends_holds_its_own_port_until_its_record_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def end(app: Any, worker: Any, listener: socket.socket, own: socket.socket, controller: Any) -> None:
        listener.close()
        own.close()
        (record,) = worker_records(workspace)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", record["own_port"]))
        seen.append(record)

    monkeypatch.setattr("opswright.serving.gateway.__main__._run", end)
    monkeypatch.setattr("opswright.serving.gateway.__main__._spare_the_collector", lambda: None)
    settings = load_settings(home=tmp_path / "home", actor="tester")
    workspace = Workspace(settings)
    serve(workspace, GatewayWorker(1, 2, CONTROL))
    with socket.socket() as anybody:
        anybody.bind(("127.0.0.1", seen[0]["own_port"]))
    assert worker_records(workspace) == []
