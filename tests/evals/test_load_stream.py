"""One streamed answer, of a server that says what no text can be."""

from __future__ import annotations

import asyncio
import json

import aiohttp
from aiohttp import web

from opswright.evals.load.streamed import RequestRecord, ask_streamed


async def asked(*chunks: dict[str, object]) -> RequestRecord:
    async def answer(request: web.Request) -> web.Response:
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return web.Response(text="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession() as session:
            return await ask_streamed(session, url, {"max_tokens": 8}, 20.0, RequestRecord(0.0, 0))
    finally:
        await runner.cleanup()


def test_half_a_character_is_text_that_a_tokenizer_and_a_report_can_hold() -> None:
    chunks: list[dict[str, object]] = [
        {"choices": [{"delta": {"content": text}}]} for text in ("so ", "\ud83d")
    ]
    record = asyncio.run(asked(*chunks, {"choices": [{"finish_reason": "\udc00"}]}))
    assert record.is_whole and record.tokens_out == 2
    assert record.text.encode() == b"so ?" and record.finish.encode() == b"?"
