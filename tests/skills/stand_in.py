"""A stand-in for OpenAI-compatible servers, which misbehaves as it is told.

Its replies have the shapes that vLLM's and SGLang's sources give them; neither was ever run here.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web


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


@contextmanager
def serving() -> Iterator[Callable[[StandIn], str]]:
    """What starts a stand-in and gives its address; those it started end with the block."""
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

    try:
        yield start
    finally:
        for runner in runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
