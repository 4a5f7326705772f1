"""Endpoints under the load that was asked for: one level after another, or two endpoints in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...core.artifact_refs import BundleRef
from ...core.contract import StepContext
from ...core.errors import HeldError
from ...core.token_spending import most_tokens, spend_tokens
from .request import BenchmarkRequest

if TYPE_CHECKING:
    import aiohttp

    from ...engines.base import Chat
    from ...evals.load.identity import ServerIdentity
    from ...evals.load.level import Level, LoadOptions


@dataclass
class LoadTarget:
    """One endpoint: what was named, which model is asked there, how, and what was seen."""

    what: BundleRef | str
    model: str | None
    options: LoadOptions
    levels: list[Level] = field(default_factory=list)
    known: ServerIdentity | None = None
    warm_up: list[Level] = field(default_factory=list)  # asked before each level, and in no figure

    @property
    def identity(self) -> ServerIdentity:
        """What it says it is; of one that was not reached, the model that was to be asked."""
        from ...evals.load.identity import ServerIdentity

        return self.known or ServerIdentity(self.model or "")


def options_of(request: BenchmarkRequest, url: str, key: str | None) -> LoadOptions:
    """What the request asks for, of an endpoint; requests and seconds are those of one turn."""
    from ...evals.load.level import LoadOptions

    base = url.rstrip("/").removesuffix("/chat/completions")
    turns = _turns(request)
    return LoadOptions(
        url=base if base.endswith("/v1") else f"{base}/v1",
        model="",
        output_tokens=request.output_tokens,
        timeout_s=request.timeout_s,
        requests=-(-request.requests // turns),
        seconds=None if request.seconds is None else request.seconds / turns,
        key=key,
    )


def _turns(request: BenchmarkRequest) -> int:
    return 1 if request.against is None else request.turns


def measure(
    request: BenchmarkRequest, targets: Sequence[LoadTarget], chats: Sequence[Chat], ctx: StepContext
) -> HeldError | None:
    """Fill in the targets' levels; what stopped the step before its end, if something did."""
    try:
        asyncio.run(_measure(request, targets, chats, ctx))
    except HeldError as stop:
        return stop
    return None


def count_tokens(targets: Sequence[LoadTarget], chats: Sequence[Chat], ctx: StepContext) -> None:
    """Count what endpoints that somebody else serves were asked as the step's spending, warm-up too.

    A request whose tokens nobody counted counts for as many as it can have had.
    """
    most_read = -(-most_tokens(chats) // max(1, len(chats)))
    for one in targets:
        if isinstance(one.what, BundleRef):
            continue
        records = [record for level in (*one.warm_up, *one.levels) for record in level.records]
        read = sum(most_read if record.tokens_in is None else record.tokens_in for record in records)
        written = sum(record.tokens_out for record in records)
        spend_tokens(ctx, one.what, one.model or one.identity.model or None, read, written)


async def _measure(
    request: BenchmarkRequest, targets: Sequence[LoadTarget], chats: Sequence[Chat], ctx: StepContext
) -> None:
    from ...evals.load.identity import identify
    from ...evals.load.level import Level, open_session

    async with AsyncExitStack() as stack:
        sessions = []
        for one in targets:
            session = await stack.enter_async_context(open_session(one.options, max(request.concurrency)))
            one.known = await identify(session, one.options.url, one.model, one.options.key)
            ctx.log(f"{one.options.url}: {one.known.name}, model {one.known.model}")
            extra = {"ignore_eos": True} if one.known.fixes_length else {}
            one.options = replace(one.options, model=one.known.model, extra=extra)
            sessions.append(session)
        progress = _Progress(request, ctx, len(targets))
        first = 0
        for concurrency in request.concurrency:
            for one in targets:
                one.levels.append(Level(concurrency))
            asked = list(zip(targets, sessions, strict=True))
            first = await _level(request, asked, chats, first, progress)


async def _level(
    request: BenchmarkRequest,
    asked: list[tuple[LoadTarget, aiohttp.ClientSession]],
    chats: Sequence[Chat],
    first: int,
    progress: _Progress,
) -> int:
    """One concurrency: each target's warm-up, then their turns, the order changing; the next prompt's number.

    No turn asks what a warm-up or an earlier turn has put into a cache, as long as prompts last.
    """
    from ...evals.load.level import Level, run_level

    for one, session in asked:
        if request.warmup:
            warm = replace(one.options, requests=request.warmup, seconds=None)
            level = Level(one.levels[-1].concurrency)
            one.warm_up.append(level)
            await run_level(session, warm, chats, level, lambda done, gone: progress.check(), first)
    first += request.warmup
    for turn in range(_turns(request)):
        for one, session in asked if turn % 2 == 0 else asked[::-1]:
            await run_level(session, one.options, chats, one.levels[-1], progress.tell, first, turn)
            progress.end(one.options)
        first += asked[0][0].options.requests
    return first


class _Progress:
    """Tells how far all targets and levels are, in requests or in seconds."""

    def __init__(self, request: BenchmarkRequest, ctx: StepContext, targets: int) -> None:
        self._ctx, self._is_timed = ctx, request.seconds is not None
        self._done = 0.0
        one = request.seconds or -(-request.requests // _turns(request)) * _turns(request)
        self._total = one * len(request.concurrency) * targets

    def check(self) -> None:
        """Stop where the step is to stop."""
        self._ctx.check()

    def tell(self, done: int, gone_s: float) -> None:
        """So much of the turn that is under way."""
        part = gone_s if self._is_timed else done
        unit = "seconds" if self._is_timed else "requests"
        self._ctx.progress(min(self._total, self._done + part), self._total, unit)

    def end(self, options: LoadOptions) -> None:
        """The turn is over."""
        self._done += options.requests if options.seconds is None else options.seconds
