"""Who may speak to the Triton server that a workspace runs: its gateway, and nobody else.

Loading a model is running its code, so every request here that lacks the secret must change nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from opswright.serving.triton.access import SECRET_HEADER
from opswright.serving.triton.environment import PlatformFacts, locate
from opswright.serving.triton.server import TritonServer

pytestmark = pytest.mark.e2e

ECHO = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def initialize(self, args):
        open({marker!r}, "a").write("code ran\\n")
    def execute(self, requests):
        texts = [pb_utils.get_input_tensor_by_name(r, "text").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("said", text)]) for text in texts]
"""
TENSOR = {"data_type": "TYPE_STRING", "dims": [1]}
CONFIG = {
    "name": "echo",
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "text", **TENSOR}],
    "output": [{"name": "said", **TENSOR}],
    "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
}
FOREIGN = {"Host": "evil.example", "Origin": "https://evil.example", "Content-Type": "text/plain"}


@dataclass(frozen=True)
class Call:
    """One request to Triton, and how the server answers whoever may ask."""

    method: str
    path: str
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def load_of(marker: Path) -> Call:
    """Load a model whose code comes with the request and leaves a marker."""
    code = base64.b64encode(ECHO.format(marker=str(marker)).encode()).decode()
    parameters = {"config": json.dumps(CONFIG), "file:1/model.py": code}
    return Call("POST", "/v2/repository/models/echo/load", {"parameters": parameters})


def calls(memory: str) -> list[Call]:
    """Every other kind of request Triton knows, while the echo model is loaded."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}
    region = {"key": f"/{memory}", "offset": 0, "byte_size": 64}
    return [
        Call("GET", "/v2/health/live"),
        Call("GET", "/v2/health/ready"),
        Call("GET", "/v2"),
        Call("GET", "/v2/models/echo"),
        Call("GET", "/v2/models/echo/ready"),
        Call("GET", "/v2/models/echo/config"),
        Call("GET", "/v2/models/stats"),
        Call("GET", "/v2/models/echo/stats"),
        Call("POST", "/v2/repository/index", {}),
        Call("POST", "/v2/models/echo/infer", {"inputs": [tensor]}),
        Call("POST", "/v2/models/echo/generate", {"text": "hello"}),
        Call("POST", "/v2/models/echo/generate_stream", {"text": "hello"}),
        Call("POST", "/v2/systemsharedmemory/region/mine/register", region),
        Call("GET", "/v2/systemsharedmemory/status"),
        Call("POST", "/v2/systemsharedmemory/unregister", {}),
        Call("GET", "/v2/cudasharedmemory/status"),
        Call("POST", "/v2/cudasharedmemory/unregister", {}),
        Call("GET", "/v2/trace/setting"),
        Call("POST", "/v2/trace/setting", {"trace_rate": "7"}),
        Call("GET", "/v2/logging"),
        Call("POST", "/v2/logging", {"log_verbose_level": 0}),
        Call("POST", "/v2/repository/models/echo/unload", {}),
    ]


def strangers(secret: str) -> dict[str, dict[str, str]]:
    """The headers of those who do not know the secret."""
    return {
        "without the secret": {},
        "with an empty one": {SECRET_HEADER: ""},
        "with a wrong one": {SECRET_HEADER: "wrong"},
        "with the beginning of it": {SECRET_HEADER: secret[:-1]},
        "from a foreign page": FOREIGN,
        "from a foreign page with a wrong one": {**FOREIGN, SECRET_HEADER: "wrong"},
    }


class Asker:
    """Speaks plain HTTP to the server's socket, with whatever headers."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._folder = os.open(Path(record["socket"]).parent, os.O_PATH)
        # a socket's path has about 100 characters; the folder by its descriptor is always short enough
        path = f"/proc/self/fd/{self._folder}/{Path(record['socket']).name}"
        self._http = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), timeout=120)

    async def ask(self, call: Call, headers: dict[str, str]) -> httpx.Response:
        content = b"" if call.body is None else json.dumps(call.body).encode()
        return await self._http.request(
            call.method, f"http://triton{call.path}", content=content, headers=headers
        )

    async def close(self) -> None:
        await self._http.aclose()
        os.close(self._folder)


Scene = Callable[[TritonServer, Asker, str], Coroutine[Any, Any, None]]


@pytest.fixture
def play(triton_home: Path, tmp_path: Path) -> Callable[[Scene], None]:
    """Runs a scene on a started server that has nothing loaded."""

    async def whole(scene: Scene) -> None:
        server = TritonServer(
            tmp_path / "triton",
            tmp_path / "triton.log",
            lambda: locate(triton_home, PlatformFacts.here(), print),
            lambda model: 1,
            timeout_s=120,
        )
        await server.start()
        record = server.runtime.record
        assert record is not None
        asker = Asker(record)
        try:
            await scene(server, asker, record["secret"])
        finally:
            await asker.close()
            await server.stop()
            assert server.runtime.left_over() == []

    return lambda scene: asyncio.run(whole(scene))


@contextmanager
def shared_memory() -> Iterator[str]:
    memory = SharedMemory(create=True, size=64)
    try:
        yield memory.name
    finally:
        memory.close()
        memory.unlink()


def test_nobody_without_the_secret_runs_code_asks_or_changes_anything(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"

    async def scene(server: TritonServer, asker: Asker, secret: str) -> None:
        right = {SECRET_HEADER: secret}
        for who, headers in strangers(secret).items():
            reply = await asker.ask(load_of(marker), headers)
            assert reply.status_code == 403, f"load {who}: {reply.text}"
        assert not marker.exists()
        assert (await asker.ask(load_of(tmp_path / "own"), right)).status_code == 200
        with shared_memory() as memory:
            for call in calls(memory):
                for who, headers in strangers(secret).items():
                    reply = await asker.ask(call, headers)
                    assert reply.status_code == 403, f"{call} {who}: {reply.text}"
                    assert "hello" not in reply.text
        assert not marker.exists()
        assert (await asker.ask(Call("GET", "/v2/models/echo/ready"), right)).status_code == 200
        setting = await asker.ask(Call("GET", "/v2/trace/setting"), right)
        assert setting.json()["trace_rate"] != "7"

    play(scene)


def test_with_the_secret_every_request_works(play: Callable[[Scene], None], tmp_path: Path) -> None:
    async def scene(server: TritonServer, asker: Asker, secret: str) -> None:
        right = {SECRET_HEADER: secret}
        marker = tmp_path / "ran"
        assert (await asker.ask(load_of(marker), right)).status_code == 200
        assert marker.read_text() == "code ran\n"
        with shared_memory() as memory:
            for call in calls(memory):
                reply = await asker.ask(call, right)
                assert reply.status_code == 200, f"{call}: {reply.text}"
                if "/infer" in call.path or "/generate" in call.path:
                    assert "hello" in reply.text

    play(scene)


def test_the_server_listens_on_no_port_and_tells_its_secret_to_its_owner_alone(
    play: Callable[[Scene], None], tmp_path: Path
) -> None:
    secrets = []

    async def scene(server: TritonServer, asker: Asker, secret: str) -> None:
        secrets.append(secret)
        record = server.runtime.record
        assert record is not None
        process = psutil.Process(record["pid"])
        for one in (process, *process.children(recursive=True)):
            assert one.net_connections("inet") == []
        folder = Path(record["socket"]).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "server.json").stat().st_mode & 0o077 == 0
        assert await server.alive()
        assert secret not in (tmp_path / "triton.log").read_text()

    play(scene)
    play(scene)
    assert len(set(secrets)) == 2
