"""Processes are found by who they are, not by a number that may have gone to another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opswright.core.errors import AskError, NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving import processes
from opswright.serving.fleet import GatewayClient, gateway_record, stop_all, url_of
from opswright.serving.gateway.__main__ import main, serve
from opswright.serving.ports import USUAL, bind, listen

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def at_port(workspace: Workspace, **serving: object) -> Workspace:
    return Workspace(load_settings(home=workspace.root, serving=ServingSettings.model_validate(serving)))


def test_a_record_names_one_process_and_not_whoever_has_its_number_now(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    assert not processes.is_running(processes.read_record(path))
    record = processes.write_record(path, os.getpid(), port=1)
    assert processes.is_running(processes.read_record(path))
    copy = tmp_path / "copy" / "record.json"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert processes.read_record(copy) is None
    assert not processes.is_running({**record, "started": record["started"] - 100})
    assert not processes.is_running({**record, "pid": 2**22 + 1})
    assert path.stat().st_mode & 0o077 == 0


def test_a_record_that_was_cut_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text('{"pid": 1')
    assert processes.read_record(path) is None


def test_a_process_that_ignores_the_request_to_end_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        processes.end([process.pid], grace_s=0.1)
        assert processes.started_at(process.pid) is None


def test_processes_are_found_by_their_arguments(tmp_path: Path) -> None:
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, f"--model-repository={tmp_path}"]) as process:
        deadline = time.monotonic() + 120
        while processes.with_argument(f"--model-repository={tmp_path}") != [process.pid]:
            assert time.monotonic() < deadline
        processes.end([process.pid], grace_s=2)
    assert processes.with_argument(f"--model-repository={tmp_path}") == []


def test_a_port_in_use_is_refused_by_the_name_of_its_owner(workspace: Workspace, taken: int) -> None:
    with pytest.raises(NeedsError, match=rf"port {taken}.*pid {os.getpid()}"):
        bind("127.0.0.1", taken)
    with pytest.raises(NeedsError, match=rf"port {taken}.*pid {os.getpid()}.*GATEWAY_PORT"):
        GatewayClient(at_port(workspace, gateway_port=taken, server="in-process")).start()
    assert gateway_record(workspace) is None


def test_a_free_port_passes(taken: int, free_port: Callable[[], int]) -> None:
    processes.need_port(0, "anything")
    processes.need_port(free_port(), "anything")
    with pytest.raises(NeedsError, match=f"port {taken}"):
        processes.need_port(taken, "anything")


def test_a_gateway_that_others_can_reach_needs_a_token(workspace: Workspace) -> None:
    with pytest.raises(AskError, match="AUTH_TOKEN"):
        serve(at_port(workspace, host="0.0.0.0", gateway_port=0, server="in-process"))


def test_the_gateway_process_tells_its_error_and_ends_with_its_code(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_SERVING__HOST", "0.0.0.0")
    assert main(["--home", str(workspace.root)]) == 2
    assert "AUTH_TOKEN" in capsys.readouterr().err


def test_one_gateway_serves_a_workspace(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_SERVING__GATEWAY_PORT", "0")
    with workspace.lock("gateway-process"):
        assert main(["--home", str(workspace.root)]) == 5
    assert "another gateway serves" in capsys.readouterr().err


def test_the_address_of_a_gateway_can_be_opened() -> None:
    assert url_of({"host": "127.0.0.1", "port": 8700}) == "http://127.0.0.1:8700"
    assert url_of({"host": "0.0.0.0", "port": 8700}) == "http://127.0.0.1:8700"
    assert url_of({"host": "::1", "port": 8700}) == "http://[::1]:8700"


def test_stopping_what_does_not_run_says_so(workspace: Workspace) -> None:
    assert stop_all(workspace) == []


def test_a_port_that_nobody_named_is_the_usual_one_or_a_free_one_that_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "serving" / "port"
    with bind("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        kept.parent.mkdir()
        kept.write_text(str(number))
        with listen("127.0.0.1", None, kept) as first:
            own = first.getsockname()[1]
            assert own != number and kept.read_text() == str(own)
            with listen("127.0.0.1", None, tmp_path / "other" / "port") as second:
                assert second.getsockname()[1] not in (own, number)
    with listen("127.0.0.1", None, kept) as again:
        assert again.getsockname()[1] == own


def test_a_port_that_was_named_and_is_taken_is_refused(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(NeedsError, match="is in use by"):
        listen("127.0.0.1", taken.getsockname()[1], tmp_path / "port")


@pytest.mark.parametrize("said", ["", "no port", "99999999", "-1"])
def test_a_kept_port_that_is_none_is_not_believed(tmp_path: Path, said: str) -> None:
    (tmp_path / "port").write_text(said)
    with listen("127.0.0.1", None, tmp_path / "port") as found:
        assert found.getsockname()[1] > 0
    assert USUAL == 8700  # what the examples ask
