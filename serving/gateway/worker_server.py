"""A worker's server: its share of the connections that come to the one socket, and its signs of life."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress

import uvicorn

from ..workers import ConnectionTable, GatewayWorker

_BEAT_S = 1.0
_LEAVE_S = 0.002  # so long is a connection left to a worker that has fewer
_RETRY_S = 0.5  # after a connection that could not be taken: no descriptor was free
_POLL_S = 0.02
_FEW = 8  # one in so many connections more than another has is no reason to leave the next


class WorkerServer(uvicorn.Server):
    """Serves as uvicorn does, and says each second that its event loop turns.

    With other workers it takes connections from `shared` as long as it has no more of them than the others,
    and none before it can answer (`can_answer`) or nobody else does, `hold_s` at most.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        worker: GatewayWorker,
        shared: socket.socket | None = None,
        can_answer: Callable[[], bool] = lambda: True,
        hold_s: float = 20.0,
    ) -> None:
        super().__init__(config)
        self._worker = worker
        self._shared = shared
        self._can_answer = can_answer
        self._hold_s = hold_s
        self._table = None if worker.table is None else ConnectionTable(worker.table, worker.count)
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_accepting = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end; the signs of life begin before the application does."""
        beating = asyncio.create_task(self._beat())
        try:
            await super().serve(sockets)
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        if self._worker.beats is None:
            return
        os.set_blocking(self._worker.beats, False)
        while True:
            with suppress(BlockingIOError, BrokenPipeError):  # nobody reads them; the gateway goes on
                os.write(self._worker.beats, b".")
            await asyncio.sleep(_BEAT_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; at the shared socket when this worker can answer."""
        await super().startup(sockets)
        if self._shared is not None:
            self._shared.setblocking(False)
            self._keep(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._hold_s
        while not self._can_answer() and self._others() and loop.time() < deadline:
            await asyncio.sleep(_POLL_S)
        if not self.should_exit:
            self._is_accepting = True
            self._tell()
            self._listen()

    async def on_tick(self, counter: int) -> bool:
        """Tell the others how many connections there are, ten times a second."""
        self._tell()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, then end as uvicorn does."""
        self._is_accepting = False
        if self._shared is not None:
            asyncio.get_running_loop().remove_reader(self._shared)
            if self._table is not None:
                self._table.leave(self._worker.number)
            self._shared.close()
        await super().shutdown(sockets)

    def _others(self) -> list[int]:
        return [] if self._table is None else list(self._table.others(self._worker.number))

    def _tell(self) -> None:
        if self._table is not None and self._is_accepting:
            self._table.tell(self._worker.number, len(self.server_state.connections))

    def _listen(self) -> None:
        if self._is_accepting and self._shared is not None:
            asyncio.get_running_loop().add_reader(self._shared, self._on_connection)

    def _on_connection(self) -> None:
        fewest = min(self._others(), default=None)
        if fewest is not None and len(self.server_state.connections) > fewest + fewest // _FEW:
            self._pause(_LEAVE_S, self._take)
        else:
            self._take()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        """Look away from the socket for a moment."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._shared)  # type: ignore[arg-type]  # it is there, or nothing came

        def go_on() -> None:
            if self._is_accepting:
                then()
                self._listen()

        loop.call_later(seconds, go_on)

    def _take(self) -> None:
        """Take one connection, if another worker has not; one at a time, so that the others get some."""
        if self._shared is None:
            raise RuntimeError("a worker without a shared socket takes no connections from one")
        try:
            connection, _ = self._shared.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._pause(_RETRY_S, lambda: None)
            return
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        self._keep(loop.connect_accepted_socket(self._protocol, connection))

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _keep(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
