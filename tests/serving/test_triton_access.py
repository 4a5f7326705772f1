"""The way to a Triton server: no port, no request without its secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from opswright.core.errors import BackendError
from opswright.serving.server import Completion, Generation, ServerDown
from opswright.serving.triton.access import APIS, SECRET_HEADER, TritonAccess
from opswright.serving.triton.client import TritonClient
from opswright.serving.triton.environment import Install, locate
from opswright.serving.triton.environment import PlatformFacts as Facts
from opswright.serving.triton.runtime import TritonRuntime

INSTALL = Install(Path("/opt/tritonserver"), None, {})
LAST = {
    "text_output": "",
    "finish_reason": "stop",
    "num_input_tokens": 1,
    "num_output_tokens": 1,
    "release": "v1-abc",
}


def command(folder: Path) -> tuple[TritonAccess, list[str]]:
    access = TritonAccess.prepare(folder)
    return access, TritonRuntime(folder, folder / "log").command(INSTALL, access)


def test_the_server_opens_no_port(tmp_path: Path) -> None:
    _, line = command(tmp_path / "triton")
    assert {"--allow-grpc=false", "--allow-metrics=false"} <= set(line)
    assert [one for one in line if one.startswith("--http-address")] == ["--http-address=unix:http.sock"]
    assert not any("-port=" in one for one in line)


def test_every_api_asks_for_a_secret_that_each_start_makes_anew(tmp_path: Path) -> None:
    one, line = command(tmp_path / "triton")
    two, _ = command(tmp_path / "triton")
    assert f"--http-restricted-api={','.join(APIS)}:{SECRET_HEADER}={one.secret}" in line
    assert set(APIS) == {
        *("health", "metadata", "inference", "shared-memory", "model-config", "model-repository"),
        *("statistics", "trace", "logging"),
    }
    assert len(one.secret) == 64 and one.secret != two.secret
    assert one.secret not in repr(one)


def test_the_folder_is_closed_to_others_before_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "triton").mkdir(mode=0o755)
    TritonAccess.prepare(tmp_path / "triton")
    assert (tmp_path / "triton").stat().st_mode & 0o777 == 0o700


def test_a_server_of_ones_own_is_found_from_any_folder_and_opens_no_port_for_vertex(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tritonserver").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITON_SERVER", "tritonserver")
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    install = locate(tmp_path, Facts.here(), print)
    assert install.binary == tmp_path / "tritonserver"
    assert "AIP_MODE" not in install.environment


class FakeTriton:
    """Answers as Triton does, on a socket, and keeps what it was sent."""

    def __init__(self) -> None:
        self.secrets: list[tuple[str, str | None]] = []  # path and the secret that came with it
        self.status = 200

    @asynccontextmanager
    async def on(self, access: TritonAccess) -> AsyncIterator[TritonClient]:
        from aiohttp import web

        async def answer(request: web.Request) -> web.Response:
            self.secrets.append((request.path, request.headers.get(SECRET_HEADER)))
            found: object = {"version": "2.51.0"}
            if request.path.endswith("/index"):
                found = [{"name": "m"}]
            elif "/generate" in request.path:
                stream = request.path.endswith("_stream")
                return web.Response(text=f"data: {json.dumps(LAST)}\n\n" if stream else json.dumps(LAST))
            if self.status != 200:
                found = {"error": "This API is restricted, expecting header 'opswright-secret'"}
            return web.json_response(found, status=self.status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        client = TritonClient(access)
        folder = client.socket_path.rpartition("/")[0]
        await web.UnixSite(runner, f"{folder}/http.sock").start()
        try:
            yield client
        finally:
            await client.close()
            await runner.cleanup()


def test_every_request_of_the_client_carries_the_secret(tmp_path: Path) -> None:
    triton = FakeTriton()
    access = TritonAccess.prepare(tmp_path / ("a folder with a long name" * 5))
    ask = Generation("[]")

    async def scene() -> None:
        async with triton.on(access) as client:
            assert await client.live()
            assert await client.version() == "2.51.0"
            await client.load("m", 1)
            await client.unload("m", 1)
            assert (await client.infer("m", ask)).release == "v1-abc"
            pieces = [piece async for piece in client.stream("m", ask)]
            assert isinstance(pieces[-1], Completion)

    asyncio.run(scene())
    assert [path for path, _ in triton.secrets] == [
        "/v2/health/live",
        "/v2",
        "/v2/repository/models/m/load",
        "/v2/repository/models/m/unload",
        "/v2/repository/index",
        "/v2/models/m/generate",
        "/v2/models/m/generate_stream",
    ]
    assert {secret for _, secret in triton.secrets} == {access.secret}


def test_a_refusal_is_told_and_a_server_that_is_gone_is_told_apart(tmp_path: Path) -> None:
    triton = FakeTriton()
    triton.status = 403

    async def scene() -> None:
        async with triton.on(TritonAccess.prepare(tmp_path)) as client:
            with pytest.raises(BackendError, match="refused its repository index: This API is restricted"):
                await client.index()
            assert not await client.live()
            (tmp_path / "http.sock").unlink()
            await client.drop("")
            with pytest.raises(ServerDown, match="is gone"):
                await client.index()
        with pytest.raises(ServerDown, match="closed"):
            await client.index()

    asyncio.run(scene())
