"""uvicorn's HTTP protocol, with a clock on what it leaves without one: a request's first line and headers."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


def patient_protocol(headers_s: float) -> type[asyncio.Protocol]:
    """A protocol that ends a connection whose next request's headers are not whole within so many seconds.

    Between two requests uvicorn's own keep-alive time counts until the first byte comes.
    """

    class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # it is chosen when imported
        _clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._start_clock()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_clock()
            elif self._clock is None and not self.transport.is_closing():
                self._start_clock()

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_clock()
            super().connection_lost(error)

        def _start_clock(self) -> None:
            self._clock = asyncio.get_running_loop().call_later(headers_s, self._give_up)

        def _stop_clock(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None

        def _give_up(self) -> None:
            self._clock = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

    return PatientProtocol
