"""A model whose process was killed or hangs leaves nothing behind, and what is others' is not touched."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from opswright.serving.processes import started_at
from opswright.serving.server import Generation, ServedModel, ready
from opswright.serving.triton.environment import PlatformFacts, locate
from opswright.serving.triton.server import TritonServer

pytestmark = pytest.mark.e2e

_PATIENCE_S = 120.0
_SHM = Path("/dev/shm")


def left_of(server: TritonServer) -> tuple[int, int, int]:
    """Processes of models, regions of shared memory and models' folders, of this server."""
    return (
        len(server.runtime.workers("support-v1")) + len(server.runtime.workers("support-v1.2")),
        len(list(_SHM.glob(f"{server.runtime.shm_prefix}*"))),
        len(list(server.runtime.repository.iterdir())),
    )


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hung_worker_leaves_no_process_no_memory_and_no_folder(
    triton_home: Path, engines: tuple[Path, Path], tmp_path: Path, harm: signal.Signals
) -> None:
    server = TritonServer(
        tmp_path / "triton",
        tmp_path / "triton.log",
        lambda: locate(triton_home, PlatformFacts.here(), print),
        lambda model: 1,
        timeout_s=_PATIENCE_S,
    )
    model = ServedModel("support-v1", 1, engines[0], "v1-abc", "onnx-int8")
    ask = Generation(json.dumps([{"role": "user", "content": "transfer money"}]), max_tokens=240)
    theirs = _SHM / f"ops{'f' * 10}_{tmp_path.name[-20:]}"
    theirs.touch()

    async def scene() -> None:
        await server.load(model)
        whole = left_of(server)
        assert whole[0] == 1 and whole[1] > 0 and whole[2] == 1
        asked = asyncio.create_task(server.infer("support-v1", ask))
        await asyncio.sleep(0)
        (worker,) = server.runtime.workers("support-v1")
        psutil.Process(worker.pid).send_signal(harm)
        await server.load(model)
        await asyncio.gather(asked, return_exceptions=True)
        assert await ready(server, model, _PATIENCE_S)
        deadline = time.monotonic() + _PATIENCE_S * 2
        while (now := await asyncio.to_thread(left_of, server)) != whole:
            assert time.monotonic() < deadline, f"{now} is left, not {whole}"
            await asyncio.sleep(0.1)
        assert started_at(worker.pid) is None
        assert await ready(server, model, _PATIENCE_S)

    async def whole() -> None:
        await server.start()
        try:
            await scene()
        finally:
            await server.stop()

    try:
        asyncio.run(whole())
        assert list(_SHM.glob(f"{server.runtime.shm_prefix}*")) == []
        assert theirs.exists()
    finally:
        theirs.unlink()


def test_a_gateway_that_takes_a_server_over_leaves_only_what_is_served_in_its_repository(
    triton_home: Path, engines: tuple[Path, Path], tmp_path: Path
) -> None:
    def gateway() -> TritonServer:
        return TritonServer(
            tmp_path / "triton",
            tmp_path / "triton.log",
            lambda: locate(triton_home, PlatformFacts.here(), print),
            lambda model: 1,
            timeout_s=_PATIENCE_S,
        )

    async def scene() -> None:
        dies, again = gateway(), gateway()
        await dies.start()
        try:
            await dies.load(ServedModel("support-v1", 1, engines[0], "v1-abc", "onnx-int8"))
            dies.repository.write(ServedModel("support-v0", 1, engines[1], "v0", "onnx-int8"), threads=1)
            (dies.repository.root.parent / ".staging-of-a-killed-one").mkdir()
            await again.start()
            assert await again.versions() == {"support-v1": 1}
            assert [path.name for path in again.repository.root.iterdir()] == ["support-v1"]
            assert not list(again.repository.root.parent.glob(".staging-*"))
        finally:
            await dies.client.close()
            await again.stop()

    asyncio.run(scene())
