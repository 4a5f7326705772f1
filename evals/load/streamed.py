"""One streamed chat completion as its client sees it: when its tokens came, how many, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from ...engines.endpoint_client import retry_after_s

if TYPE_CHECKING:
    import aiohttp

_MOST_BYTES = 32 << 20  # of one reply
_MOST_DETAIL = 200  # characters of a reply that are kept
_MOST_READ = 10**9  # tokens of a prompt that a count can be believed to be of
_FEWEST_OF_KEY = 4  # characters that give something of a key away

CountedBy = Literal["usage", "tokenizer", "chunks", ""]


@dataclass(frozen=True)
class RequestRecord:
    """What one request took and gave, in ms from its start; error is empty for a whole answer.

    started_s: seconds of load at its level before it. turn: which of the level's turns it was in.
    ttft_ms: until the first chunk with text (time to first token). itl_ms: between each two chunks with text
    (inter-token latency; a chunk may hold several tokens). e2el_ms: until the last of them (end-to-end
    latency), or until it failed. counted_by: who counted tokens_out. usage_fault: why the server's own count
    was not believed. retry_after_s: as a 429 asked.
    """

    started_s: float
    prompt: int
    turn: int = 0
    error: str = ""
    detail: str = ""
    ttft_ms: float | None = None
    e2el_ms: float = 0.0
    itl_ms: tuple[float, ...] = ()
    tokens_in: int | None = None
    tokens_out: int = 0
    counted_by: CountedBy = ""
    usage_fault: str = ""
    finish: str = ""
    retry_after_s: float = 0.0
    text: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the answer came, from first token to end."""
        return not self.error

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first; None for an answer of one token."""
        if self.ttft_ms is None or self.tokens_out < 2:
            return None
        return (self.e2el_ms - self.ttft_ms) / (self.tokens_out - 1)

    def document(self) -> dict[str, Any]:
        """The record as JSON, without the text."""
        found = {name: value for name, value in asdict(self).items() if name != "text"}
        rounded = {name: round(value, 3) for name, value in found.items() if isinstance(value, float)}
        return {**found, **rounded, "itl_ms": [round(gap, 3) for gap in self.itl_ms]}

    @classmethod
    def from_document(cls, found: Mapping[str, Any]) -> RequestRecord:
        """The record that JSON holds."""
        return cls(**{**found, "itl_ms": tuple(found["itl_ms"])})


class StreamFault(Exception):
    """Why a reply is no whole answer: `kind` is what is counted."""

    def __init__(self, kind: str, detail: str = "", wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.wait_s = kind, detail, wait_s


class _Answer:
    """A stream as it is read; times by the monotonic clock."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._moments: list[float] = []
        self._texts: list[str] = []
        self.usage: Any = None
        self.finish = ""
        self.is_done = False

    def take(self, data: str, now: float) -> None:
        """Read the data of one event; StreamFault for what is no chunk."""
        if data == "[DONE]":
            self.is_done = True
            return
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                raise StreamFault("error_event", json.dumps(chunk["error"]))
            choices = chunk.get("choices") or []
            delta = choices[0].get("delta") or {} if choices else {}
            text = "".join(_texts_of(delta))
            finish = choices[0].get("finish_reason") if choices else None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise StreamFault("bad_chunk", data) from None
        self.usage = chunk.get("usage") or self.usage
        if text:
            self._moments.append(now)
            self._texts.append(text)
        self.finish = _plain(str(finish)) if finish else self.finish

    def record(self, base: RequestRecord) -> RequestRecord:
        """What came of it; StreamFault when it is no whole answer."""
        if not (self.is_done or self.finish):
            raise StreamFault("cut", f"the stream ended after {len(self._moments)} chunks without its end")
        if not self._moments:
            raise StreamFault("no_tokens", f"finish_reason {self.finish or 'none'}")
        return self.seen(base)

    def seen(self, base: RequestRecord) -> RequestRecord:
        """What came so far."""
        times = [(moment - self._started) * 1000 for moment in self._moments]
        gaps = tuple(after - before for before, after in pairwise(times))
        return replace(
            base,
            ttft_ms=times[0] if times else None,
            e2el_ms=times[-1] if times else 0.0,
            itl_ms=gaps,
            tokens_out=len(times),
            counted_by="chunks" if times else "",
            finish=self.finish,
            text="".join(self._texts).encode("utf-8", "replace").decode(),  # as a tokenizer may have it
        )


async def ask_streamed(
    session: aiohttp.ClientSession,
    url: str,
    body: Mapping[str, Any],
    timeout_s: float,
    base: RequestRecord,
) -> RequestRecord:
    """Ask for one completion and read its stream; whatever goes wrong is in the record.

    timeout_s: of the whole answer, however slowly it drips.
    """
    import aiohttp

    started = time.perf_counter()
    answer = _Answer(started)
    try:
        async with asyncio.timeout(timeout_s):
            await _read(session, url, body, answer)
        record = answer.record(base)
        return with_usage(record, answer.usage, int(body.get("max_tokens", 0)))
    except StreamFault as fault:
        error, detail, wait_s = fault.kind, fault.detail, fault.wait_s
    except TimeoutError:
        error, detail, wait_s = "timeout", f"not whole after {timeout_s:g} s", 0.0
    except (aiohttp.ClientConnectorError, ConnectionRefusedError) as failure:
        error, detail, wait_s = "unreachable", f"{type(failure).__name__}: {failure}", 0.0
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        error, detail, wait_s = "cut", f"{type(failure).__name__}: {failure}", 0.0
    waited_ms = (time.perf_counter() - started) * 1000
    seen = answer.seen(base)
    return replace(seen, error=error, detail=_plain(detail), e2el_ms=waited_ms, retry_after_s=wait_s)


async def _read(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], answer: _Answer) -> None:
    async with session.post(url, json=body, allow_redirects=False) as reply:
        if reply.status != 200:
            raise await _refusal(reply)
        if "text/event-stream" not in reply.headers.get("content-type", ""):
            start = await reply.content.read(_MOST_DETAIL)
            raise StreamFault("not_a_stream", f"{reply.content_type}: {start.decode(errors='replace')}")
        rest, size = b"", 0
        async for data in reply.content.iter_any():
            now, size = time.perf_counter(), size + len(data)
            if size > _MOST_BYTES:
                raise StreamFault("too_large", f"more than {_MOST_BYTES:,} bytes")
            *lines, rest = (rest + data).replace(b"\r\n", b"\n").split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):  # anything else is a comment or a field that says nothing here
                    answer.take(line[5:].strip().decode(errors="replace"), now)
                if answer.is_done:
                    return


async def _refusal(reply: aiohttp.ClientResponse) -> StreamFault:
    start = await reply.content.read(_MOST_DETAIL)
    kind = "rate_limited" if reply.status == 429 else f"http_{reply.status}"
    wait_s = retry_after_s(reply.headers.get("retry-after", "0"))
    return StreamFault(kind, start.decode(errors="replace"), wait_s)


def _texts_of(delta: Mapping[str, Any]) -> Iterator[str]:
    """Every text that a chunk adds: what is said, what is thought, arguments of calls."""
    for name in ("content", "reasoning_content", "reasoning"):
        if isinstance(found := delta.get(name), str):
            yield found
    for call in delta.get("tool_calls") or ():
        yield str(call.get("function", {}).get("arguments") or "")


def with_usage(record: RequestRecord, usage: Any, most: int) -> RequestRecord:
    """The record with the server's own count of tokens, where that can be believed.

    A count is none that is no whole number, below 1 for an answer with text, or above what was asked for.
    """
    if usage is None:
        return replace(record, usage_fault="none")
    found = usage if isinstance(usage, Mapping) else {}
    read, made = found.get("prompt_tokens"), found.get("completion_tokens")
    if not isinstance(made, int) or isinstance(made, bool) or made < 1:
        return replace(record, usage_fault=_plain(f"completion_tokens {made!r} for an answer with text"))
    if most and made > most:
        return replace(record, usage_fault=_plain(f"completion_tokens {made} where {most} were allowed"))
    is_count = isinstance(read, int) and not isinstance(read, bool) and 0 < read <= _MOST_READ
    return replace(record, tokens_in=read if is_count else None, tokens_out=made, counted_by="usage")


def without_key(record: RequestRecord, key: str | None) -> RequestRecord:
    """The record without the key that its server may have repeated, be it cut at the end of what is kept."""
    if not key:
        return record
    detail = record.detail.replace(key, "***")
    for length in range(len(key) - 1, _FEWEST_OF_KEY - 1, -1):
        if detail.endswith(key[:length]):
            detail = f"{detail[:-length]}***"
            break
    return replace(record, detail=detail)


def _plain(text: str) -> str:
    """A reply's words as they may be written: whole Unicode, one line, not too long."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:_MOST_DETAIL]
