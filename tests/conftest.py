"""Fixtures for the tests of every layer: a workspace in a temporary folder, contexts for calling a skill."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseServer
from types import ModuleType

import pytest

from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

ContextFactory = Callable[..., StepContext]


_SECONDS = Path(__file__).with_name("seconds.json")  # by file; those below one second are left out
_LEFT_OUT_S = 0.5
_UNKNOWN_E2E_S = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-seconds", action="store_true", help="keep what each test file took, in tests/seconds.json"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-seconds", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Stopwatch(config.rootpath), "seconds-of-files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers that share the files begin with those that took longest, so that they end together."""
    if hasattr(config, "workerinput"):
        measured = json.loads(_SECONDS.read_text())
        costs: dict[Path, float] = {}
        for item in items:
            name = item.path.relative_to(config.rootpath).as_posix()
            costs[item.path] = measured.get(name) or max(costs.get(item.path, _LEFT_OUT_S), _guess_s(item))
        items.sort(key=lambda item: costs[item.path], reverse=True)


def _guess_s(item: pytest.Item) -> float:
    """What a test of a file that was not measured may take: a part of the limit it has, where it has one."""
    if item.get_closest_marker("e2e") is None:
        return _LEFT_OUT_S
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) / 5 if limit else _UNKNOWN_E2E_S


class _Stopwatch:
    """Adds up the seconds of each file's tests and fixtures, and writes them over those of the last time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._taken: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("::")[0]
        self._taken[name] = self._taken.get(name, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        known = json.loads(_SECONDS.read_text()) | self._taken
        kept = {name: round(s) for name, s in known.items() if s >= 1 and (self._root / name).exists()}
        _SECONDS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPSWRIGHT_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _closed_indexes(_own_folder: None) -> Iterator[None]:
    """No test leaves the files of a workspace open: one that is part of a cycle would keep them for long."""
    yield
    module = sys.modules.get("opswright.record.index.ledger_index")
    for index in list(module._OPEN.values()) if module else ():
        index.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(load_settings(home=tmp_path / "workspace", actor="tester"))


@pytest.fixture
def context(workspace: Workspace) -> ContextFactory:
    def make(step: str = "step", run: str = "run-1") -> StepContext:
        workdir = workspace.run_folder(run) / step
        workdir.mkdir(parents=True, exist_ok=True)
        return StepContext(
            workspace=workspace, run_id=run, step_id=step, idempotency_key=f"{run}-{step}", workdir=workdir
        )

    return make


@pytest.fixture(scope="session")
def load_script() -> Callable[[Path, str], ModuleType]:
    """Gives the module that a Python file in no package is, under a name of the test's own."""

    def load(path: Path, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port for a server that binds it later, each time another one.

    They lie below those that the system hands out to connections (Linux: from 32768), and each worker of
    pytest has its own: nobody takes one in the meantime.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = list(range(20_000 + worker, 32_000, count))
    random.SystemRandom().shuffle(ports)

    def take() -> int:
        while True:
            port = ports.pop()
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port

    return take


@pytest.fixture
def start_server() -> Iterator[Callable[[BaseServer], None]]:
    """Starts a server in a thread of its own; it ends with the test."""
    with ExitStack() as started:

        def start(server: BaseServer) -> None:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            started.callback(thread.join)
            started.callback(server.server_close)
            started.callback(server.shutdown)

        yield start


@dataclass
class RedisServer:
    """A real Redis as a child process, without a password unless an option gives it one."""

    folder: Path
    address: tuple[str, ...]
    url: str
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "install redis-server"
        given = [*self.address, "--dir", str(self.folder), "--save", "", *self.options]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([program, *given], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._listens():
            assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()
            time.sleep(0.02)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            if number != signal.SIGSTOP:
                self.process.wait(60)

    def go_on(self) -> None:
        """After SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        unix = self.url.startswith("unix")
        family = socket.AF_UNIX if unix else socket.AF_INET
        place = self.url.removeprefix("unix://") if unix else ("127.0.0.1", int(self.url.rpartition(":")[2]))
        with socket.socket(family) as probe, suppress(OSError):
            probe.settimeout(5)
            probe.connect(place)
            probe.sendall(b"PING\r\n")
            return b"LOADING" not in probe.recv(64)
        return False


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One Redis for tests that need no more of it than names of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        server = RedisServer(Path(folder), ("--port", "0", "--unixsocket", path), f"unix://{path}")
        server.start()
        yield server.url
        server.kill()


@pytest.fixture
def redis_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis of the test's own, on a port; given its options. It may be killed and started again."""
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        folder = tmp_path / f"redis-{len(started)}"
        folder.mkdir()
        port = str(free_port())
        server = RedisServer(
            folder, ("--port", port, "--bind", "127.0.0.1"), f"redis://127.0.0.1:{port}", options
        )
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def s3_server(free_port: Callable[[], int]) -> Iterator[str]:
    """The address of a stand-in for S3 that speaks its API; variables of AWS lead there."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        yield address
        server.stop()


@pytest.fixture
def s3_bucket(s3_server: str) -> str:
    """The name of a bucket that is empty."""
    import s3fs

    name = f"b{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(name)
    return name
