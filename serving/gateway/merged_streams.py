"""Several answers at once: all of them whole, or their pieces as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any


async def all_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; the first that fails ends the others."""
    if len(works) == 1:
        await works[0]
        return
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _ended(tasks)


async def merged(streams: Sequence[AsyncGenerator[str]]) -> AsyncGenerator[tuple[int, str]]:
    """Each piece with its stream's number, as it comes; the first failure ends them all."""
    if len(streams) == 1:
        try:
            async for piece in streams[0]:
                yield 0, piece
        finally:
            await streams[0].aclose()
        return
    inbox: asyncio.Queue[tuple[int, str | Exception | None]] = asyncio.Queue(maxsize=len(streams))

    async def pump(number: int) -> None:
        end: Exception | None = None
        try:
            async for piece in streams[number]:
                await inbox.put((number, piece))
        except Exception as error:
            end = error
        finally:
            await streams[number].aclose()
        await inbox.put((number, end))

    tasks = [asyncio.ensure_future(pump(number)) for number in range(len(streams))]
    try:
        going = len(streams)
        while going:
            number, found = await inbox.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                going -= 1
            else:
                yield number, found
    finally:
        await _ended(tasks)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
