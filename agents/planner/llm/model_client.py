"""Calls of a model behind an OpenAI-compatible endpoint: streamed, held to a time and a size, stoppable."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ....core.errors import NeedsError
from ....core.secrets import Redactor
from .limits import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

_MOST_BYTES = 8 << 20  # of one reply, as it comes over the wire
_MOST_CHARS = 200_000  # of a reply's text and arguments
_MOST_CALLS = 16
_LONGEST_WHY = 200
_LONGEST_NAME = 1_000
_POLL_S = 0.05
_TELL_EVERY_S = 0.05  # each time tells the whole text: told at each letter, it would cost the square of it
_NO_KEY = "none"  # the client wants one; without it, it would send whatever OPENAI_API_KEY holds


class ModelFailed(Exception):
    """The endpoint gave no reply that can be used; its text says why, in a clause."""


class PlanningStopped(Exception):
    """A person stopped it."""


@dataclass(frozen=True)
class ModelCall:
    """One call of a tool, as the model wrote it: `arguments` need not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ModelReply:
    """One reply: text, calls, and the tokens it took where they were told."""

    text: str
    calls: tuple[ModelCall, ...]
    usage: Usage | None


class ModelClient:
    """One endpoint, for one message. A context manager: its connections are closed when it ends."""

    def __init__(
        self,
        base_url: str,
        model: str,
        key: str | None,
        retries: int,
        cancelled: threading.Event,
        redactor: Redactor,
    ) -> None:
        self._base_url, self._model, self._key, self._retries = base_url, model, key, retries
        self._redactor = redactor
        self._cancelled = cancelled
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="planner-model", daemon=True)
        self._client: AsyncOpenAI | None = None

    def __enter__(self) -> ModelClient:
        self._client = _openai_client(self._base_url, self._key, self._retries)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _finish(self) -> None:
        """End what still runs, and close the connections."""
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        await self._loop.shutdown_asyncgens()

    def complete(
        self,
        messages: Sequence[Any],
        tools: Sequence[Any],
        *,
        max_tokens: int,
        timeout_s: float,
        on_text: Callable[[str], None],
    ) -> ModelReply:
        """The model's reply. `on_text` is told the whole text so far, now and then while it comes.

        ModelFailed when there is none in time, PlanningStopped once a person stopped it.
        """
        return self._run(self._complete(messages, tools, max_tokens, timeout_s, on_text))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work on the loop's thread, and end it when a person stops it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while not wait([future], timeout=_POLL_S).done:
                if self._cancelled.is_set():
                    raise PlanningStopped
            return future.result()
        finally:
            future.cancel()

    async def _complete(
        self,
        messages: Sequence[Any],
        tools: Sequence[Any],
        max_tokens: int,
        timeout_s: float,
        on_text: Callable[[str], None],
    ) -> ModelReply:
        import httpx2
        import openai

        client = self._client
        if client is None:
            raise RuntimeError("the client is not open")
        try:
            async with asyncio.timeout(timeout_s):
                stream = await client.chat.completions.create(
                    model=self._model,
                    messages=list(messages),
                    tools=list(tools),
                    temperature=0,
                    max_tokens=max_tokens,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                with closing(_SpokenText(on_text)) as spoken:
                    reply = _ReplyParts(spoken)
                    async for chunk in stream:
                        reply.add(chunk)
                    return reply.whole()
        except TimeoutError as error:
            raise ModelFailed(f"it gave no whole reply in {timeout_s:.0f} s") from error
        except openai.APIStatusError as error:
            raise ModelFailed(f"it answered HTTP {error.status_code}{self._why(error)}") from error
        except openai.APITimeoutError as error:
            raise ModelFailed("it did not answer in time") from error
        except openai.APIConnectionError as error:
            raise ModelFailed(f"it cannot be reached ({self._cut(error.__cause__ or error)})") from error
        except openai.OpenAIError as error:
            raise ModelFailed(f"it failed: {self._cut(error)}") from error
        except httpx2.HTTPError as error:
            raise ModelFailed(f"its reply was cut ({type(error).__name__})") from error
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ModelFailed(f"its reply is not the protocol's: {self._cut(error)}") from error

    def _cut(self, said: object) -> str:
        """What was said, for a person: cut once secrets are out of it, for half of one is none to find."""
        return self._redactor.text(str(said))[:_LONGEST_WHY]

    def _why(self, error: Any) -> str:
        """What the endpoint says of its refusal."""
        body = getattr(error, "body", None)
        message = body.get("message") if isinstance(body, dict) else None
        return f" ({self._cut(message)})" if isinstance(message, str) and message else ""


class _SpokenText:
    """A text as it grows, told at once, then now and then; where it pauses, its last words are told too."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._text = ""
        self._told_at = -_TELL_EVERY_S
        self._due: asyncio.TimerHandle | None = None

    def grow(self, text: str) -> None:
        """The text so far."""
        self._text = text
        left = self._told_at + _TELL_EVERY_S - time.monotonic()
        if left <= 0:
            self._tell()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(left, self._tell)

    def close(self) -> None:
        """Tell what was not told yet; nothing is told afterwards."""
        if self._due is not None:
            self._tell()

    def _tell(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._told_at = time.monotonic()
        self._on_text(self._text)


class _ReplyParts:
    """A reply that comes in pieces. Nothing of it is believed to have the type that it should."""

    def __init__(self, spoken: _SpokenText) -> None:
        self._spoken = spoken
        self._text = ""
        self._calls: dict[int, dict[str, str]] = {}
        self._chars = 0
        self._is_finished = False
        self._usage: Usage | None = None

    def add(self, chunk: Any) -> None:
        """One event of the stream."""
        usage = getattr(chunk, "usage", None)
        read, written = (_count_of(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        if read is not None and written is not None:
            self._usage = Usage(read, written)
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return
        choice = choices[0]
        if getattr(choice, "finish_reason", None):
            self._is_finished = True
        delta = getattr(choice, "delta", None)
        content = getattr(delta, "content", None)
        if isinstance(content, str) and content:
            self._count(content)
            self._text += content
            self._spoken.grow(self._text)
        calls = getattr(delta, "tool_calls", None)
        for call in calls if isinstance(calls, list) else ():
            self._add_call(call)

    def _add_call(self, call: Any) -> None:
        index = _count_of(call, "index")
        place = len(self._calls) if index is None else index
        if place not in self._calls and len(self._calls) >= _MOST_CALLS:
            raise ValueError(f"more than {_MOST_CALLS} calls at once")
        kept = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
        function = getattr(call, "function", None)
        for name, value in (("id", getattr(call, "id", None)), ("name", getattr(function, "name", None))):
            if isinstance(value, str) and not kept[name]:
                if len(value) > _LONGEST_NAME:  # not cut: half a secret would be none to find
                    raise ValueError(f"a {name} of a call of more than {_LONGEST_NAME} characters")
                kept[name] = value
        arguments = getattr(function, "arguments", None)
        if isinstance(arguments, str):
            self._count(arguments)
            kept["arguments"] += arguments

    def _count(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > _MOST_CHARS:
            raise ValueError(f"longer than {_MOST_CHARS:,} characters")

    def whole(self) -> ModelReply:
        """The reply, once the stream has ended; ValueError for one that was cut."""
        if not self._is_finished:
            raise ValueError("it ended before it was whole")
        calls, taken = [], set[str]()
        for place in sorted(self._calls):
            one = self._calls[place]
            name = one["id"]
            if not name or name in taken:  # each answer must name one call
                name = f"call_{place}_{len(taken)}"
            taken.add(name)
            calls.append(ModelCall(name, one["name"], one["arguments"]))
        return ModelReply(self._text, tuple(calls), self._usage)


def _count_of(found: object, name: str) -> int | None:
    value = getattr(found, name, None)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if is_count else None


def _openai_client(base_url: str, key: str | None, retries: int) -> AsyncOpenAI:
    try:
        import httpx2
        import openai
    except ModuleNotFoundError as error:
        raise NeedsError(
            "the planner llm needs the package openai: pip install 'opswright[llm]' -c constraints.txt"
        ) from error
    from .capped_transport import CappedTransport

    transport = CappedTransport(_MOST_BYTES, key or _NO_KEY)
    http = httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key or _NO_KEY,
        organization="",
        project="",
        max_retries=retries,
        http_client=http,
        default_headers={"Accept-Encoding": "identity"},
    )
