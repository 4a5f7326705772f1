"""An inference server as a gateway chooses and runs it, for the length of a scene."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from opswright.core.workspace import Workspace
from opswright.serving.server import Generation, InferenceServer
from opswright.serving.server_selection import build, choose

Scene = Callable[[InferenceServer], Coroutine[Any, Any, None]]


def play(workspace: Workspace, scene: Scene) -> None:
    """The scene, on the server that the workspace's settings choose; it is stopped afterwards."""

    async def whole() -> None:
        server = build(workspace, choose(workspace), print)
        await server.start()
        try:
            await scene(server)
        finally:
            await server.stop()

    asyncio.run(whole())


def chat(text: str, **options: Any) -> Generation:
    """What a user said, as it is asked of a server."""
    return Generation(json.dumps([{"role": "user", "content": text}]), **options)
