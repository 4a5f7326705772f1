"""One line to the shared store: what a gateway sends it is carried out in that order, many at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError
from ...core.settings.serving import StoreSettings
from .redis_client import async_client, unreachable
from .redis_scripts import Script

if TYPE_CHECKING:
    from redis.asyncio import Redis as AsyncRedis

log = logging.getLogger(__name__)

_AT_ONCE = 256  # commands of one exchange
_MOST_WAITING = 20_000
_LAST_S = 3.0  # for what still waits when the gateway ends


@dataclass
class _Call:
    """A command on its way, and who waits for its reply."""

    command: tuple[Any, ...]
    script: Script | None
    reply: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RedisLine:
    """Sends commands over one connection and hands out their replies; the event loop never waits for it.

    A store that failed to answer is asked again by `probe` alone; until one succeeds, everything else fails
    at once. Nothing is sent twice: what was sent without a reply may have been carried out.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.fault: BackendError | None = None
        self._waiting: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._client: AsyncRedis = async_client(settings)  # reached when something is sent
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to send; the store is not asked yet."""
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what waits, for a few seconds at most, and hang up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                while self._waiting:
                    waiting = [call.reply for call in self._waiting]
                    await asyncio.wait(waiting)
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for call in self._waiting:
            self._fail(call, BackendError("the gateway ends"))
        self._waiting.clear()
        await self._client.aclose()

    def probe(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command that changes nothing, whether the store answered lately or not."""
        return self._queued(_Call(command, None))

    def run(self, script: Script, name: str, *arguments: Any) -> asyncio.Future[Any]:
        """Have a script run on one of the store's names; BackendError, by the reply, where it cannot."""
        call = _Call(("EVALSHA", script.digest, 1, name, *arguments), script)
        if self.fault is not None:
            call.reply.set_exception(self.fault)
            return call.reply
        return self._queued(call)

    def _queued(self, call: _Call) -> asyncio.Future[Any]:
        if len(self._waiting) >= _MOST_WAITING:
            call.reply.set_exception(BackendError("too much waits for the shared store"))
            return call.reply
        self._waiting.append(call)
        self._wake.set()
        return call.reply

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = [self._waiting[number] for number in range(min(_AT_ONCE, len(self._waiting)))]
                try:
                    await self._carry_out(batch)
                finally:
                    for _ in batch:
                        self._waiting.popleft()

    async def _carry_out(self, batch: list[_Call]) -> None:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(self.settings.timeout_s):
                replies = await self._asked(batch)
        except Exception as error:  # also what no client should raise, as for bytes that are no text
            self.fault = self._down(unreachable(self.settings, error))
            for call in batch:
                self._fail(call, self.fault)
            with suppress(RedisError, OSError):
                await self._client.connection_pool.disconnect()  # no later reply is taken for another's
        except BaseException:
            for call in batch:
                self._fail(call, BackendError("the gateway ends"))
            raise
        else:
            self._is_up()
            for call, reply in zip(batch, replies, strict=True):
                if isinstance(reply, Exception):
                    self._fail(call, unreachable(self.settings, reply))
                elif not call.reply.done():
                    call.reply.set_result(reply)

    async def _asked(self, batch: list[_Call]) -> list[Any]:
        """Replies or exceptions, one for each; scripts that the server does not know are told it."""
        from redis.exceptions import NoScriptError

        replies = await self._exchange([call.command for call in batch])
        unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # they were not carried out, so they may be sent again
            texts = {script.text for place in unknown if (script := batch[place].script) is not None}
            commands = [("SCRIPT LOAD", text) for text in texts]
            again = await self._exchange([*commands, *(batch[place].command for place in unknown)])
            for place, reply in zip(unknown, again[len(commands) :], strict=True):
                replies[place] = reply
        return replies

    async def _exchange(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute(raise_on_error=False))

    def _down(self, fault: BackendError) -> BackendError:
        if self.fault is None:
            log.error("%s. Keys with limits are refused until it does.", fault)
        return fault

    def _is_up(self) -> None:
        if self.fault is not None:
            log.warning("the shared store at %s serves again", self.settings.url)
        self.fault = None

    @staticmethod
    def _fail(call: _Call, error: BackendError) -> None:
        if not call.reply.done():
            call.reply.set_exception(error)
            call.reply.exception()  # whoever waits still gets it; nobody has to
