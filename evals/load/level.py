"""So many requests at a time, one after another, until a number of them or a time is reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...engines.base import Chat
from .streamed import RequestRecord, ask_streamed, without_key

if TYPE_CHECKING:
    import aiohttp

_LOOK_S = 0.2
_PAUSE_S = 0.2  # after a server that was not reached: nobody is asked a thousand times a second


@dataclass(frozen=True)
class LoadOptions:
    """What every request of a measurement says.

    requests: of a level, when seconds is None; else a level lasts so many seconds, and what was begun ends.
    extra: what else is said to this kind of server, as ignore_eos.
    """

    url: str
    model: str
    output_tokens: int
    timeout_s: float
    requests: int
    seconds: float | None = None
    key: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def body(self, chat: Chat) -> dict[str, Any]:
        """A request: greedy, streamed, with the tokens counted at its end."""
        return {
            "model": self.model,
            "messages": [dict(message) for message in chat],
            "max_tokens": self.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.extra,
        }


@dataclass
class Level:
    """What was seen at one concurrency, in one turn or several; `seconds` of load in all."""

    concurrency: int
    records: list[RequestRecord] = field(default_factory=list)
    seconds: float = 0.0


def open_session(options: LoadOptions, connections: int) -> aiohttp.ClientSession:
    """A client without a proxy, with a connection for each request at a time."""
    import aiohttp

    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout, trust_env=False)


async def run_level(
    session: aiohttp.ClientSession,
    options: LoadOptions,
    chats: Sequence[Chat],
    level: Level,
    told: Callable[[int, float], None],
    first: int = 0,
    turn: int = 0,
) -> None:
    """Keep `level.concurrency` requests going, and fill in the level as they end.

    told: called now and then with the requests done and the seconds gone; what it raises ends the level,
    whose records stay. first: the number of the prompt to begin with.
    """
    url, began, before_s = f"{options.url}/chat/completions", time.perf_counter(), level.seconds
    numbers = iter(range(first, first + options.requests)) if options.seconds is None else _endless(first)

    async def work() -> None:
        for number in numbers:
            gone = time.perf_counter() - began
            if options.seconds is not None and gone >= options.seconds:
                return
            prompt = number % len(chats)
            base = RequestRecord(started_s=before_s + gone, prompt=prompt, turn=turn)
            record = await ask_streamed(session, url, options.body(chats[prompt]), options.timeout_s, base)
            level.records.append(without_key(record, options.key))
            level.seconds = before_s + time.perf_counter() - began
            pause_s = record.retry_after_s or (_PAUSE_S if record.error == "unreachable" else 0.0)
            if options.seconds is not None:  # a level lasts no longer because a server asks to wait
                pause_s = min(pause_s, max(0.0, options.seconds - (time.perf_counter() - began)))
            await asyncio.sleep(pause_s)

    before = len(level.records)
    tasks = [asyncio.create_task(work()) for _ in range(level.concurrency)]
    try:
        while pending := [task for task in tasks if not task.done()]:
            await asyncio.wait(pending, timeout=_LOOK_S)
            told(len(level.records) - before, time.perf_counter() - began)
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _endless(first: int) -> Any:
    import itertools

    return itertools.count(first)
