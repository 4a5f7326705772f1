"""The pages that Gradio makes, behind those that need none: it is loaded once the first page was asked."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..auth.guard import answer

if TYPE_CHECKING:
    from ..auth.guard import App, Receive, Scope, Send

_AFTER_FIRST_S = 0.4  # once somebody has the first page; it and its first answers come before
_ANYWAY_S = 1.5  # or when nobody has come yet


class LatePages:
    """An ASGI application: our own pages at once; what they do not know waits for the one made beside.

    make: builds the other application, on a thread of its own, once. Its failure is told to whoever asks for
    one of its pages, and on stderr.
    """

    def __init__(self, own: App, knows: Callable[[str], bool], make: Callable[[], Any]) -> None:
        self._own = own
        self._knows = knows
        self._make = make
        self._wanted = asyncio.Event()
        self._over = asyncio.Event()
        self._made = asyncio.Event()  # or failed
        self._app: App | None = None
        self._fault = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; start and end the other application with this one."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._knows(scope["path"]):
            await self._own(scope, receive, send)
            asyncio.get_running_loop().call_later(_AFTER_FIRST_S, self._wanted.set)
        else:
            self._wanted.set()
            await self._made.wait()
            if self._app is None:
                await answer(send, 500, f"this page cannot be shown: {self._fault}")
            else:
                await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        asyncio.get_running_loop().call_later(_ANYWAY_S, self._wanted.set)
        other = asyncio.create_task(self._run_other())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._over.set()
        if not self._made.is_set():
            other.cancel()
        with suppress(asyncio.CancelledError):
            await other
        await send({"type": "lifespan.shutdown.complete"})

    async def _run_other(self) -> None:
        """Load the other application and keep it started until the end."""
        await self._wanted.wait()
        loop = asyncio.get_running_loop()
        built: asyncio.Future[Any] = loop.create_future()

        def build() -> None:
            try:
                app, fault = self._make(), None
            except Exception as error:
                app, fault = None, error
            with suppress(RuntimeError):  # the console has ended meanwhile
                loop.call_soon_threadsafe(_settle, built, app, fault)

        threading.Thread(target=build, name="pages").start()  # a daemon in an import can hang Python's end
        try:
            app = await built
            async with app.router.lifespan_context(app):
                self._app = app
                self._made.set()
                await self._over.wait()
        except Exception as error:
            self._fault = str(error)
            print(f"opswright: some pages cannot be shown: {error}", file=sys.stderr, flush=True)
        finally:
            self._made.set()


def _settle(built: asyncio.Future[Any], app: Any, fault: Exception | None) -> None:
    if built.done():
        return
    if fault is not None:
        built.set_exception(fault)
    else:
        built.set_result(app)
