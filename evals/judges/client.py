"""Asks a judge, takes only replies that can be read strictly, and keeps them.

A judge that is down, slow, or does not say what it was asked for costs the items it was asked about their
score, each with the reason; it never gives one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Generic, TypeVar

from ...engines import Chat, Engine, GenerationOptions, GenerationResult, Progress
from ..answer_cache import AnswerCache, CachedEngine, NoAnswers
from ..scorers.base import ServerAccess
from ..scorers.structured import NotJson, read_json
from .settings import JudgeSettings

T = TypeVar("T")

_ASKED_AT_A_TIME = 4  # requests of each connection between two looks at whether the judge answers at all
_SHOWN_CHARS = 120


class Unreadable(ValueError):
    """A judge's reply is not what it was asked for."""


class Judgement(Generic[T]):
    """What a judge said of one chat: a verdict that was read, or why there is none."""

    def __init__(self, verdict: T | None, failure: str = "", tokens: int = 0) -> None:
        self.verdict, self.failure, self.tokens = verdict, failure, tokens


class JudgeClient(Generic[T]):
    """A judge with one prompt and one form of verdict.

    read: what makes a verdict of a reply's JSON object; it raises Unreadable. prompt_digest: of the prompt
    the chats are made with. Replies that were read are kept by judge, prompt and chat, so that a scoring that
    was stopped goes on where it was.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        read: Callable[[Mapping[str, Any]], T],
        prompt_digest: str,
        access: ServerAccess,
    ) -> None:
        self._settings, self._read, self._access = settings, read, access
        self._identity = {"judge": settings.document(), "prompt": prompt_digest}

    def ask(self, chats: Sequence[Chat]) -> list[Judgement[T]]:
        """A judgement of each chat, in their order."""
        settings = self._settings
        cache = NoAnswers() if self._access.cache is None else AnswerCache(self._access.cache)
        pieces = _ASKED_AT_A_TIME * settings.concurrency
        with closing(CachedEngine(self._open, self._identity, cache, pieces)) as engine:
            options = GenerationOptions(max_tokens=settings.max_tokens)
            results = engine.generate(chats, options, self._access.progress)
        return [self._judgement(result) for result in results]

    def _open(self) -> Engine:
        from ...engines.endpoint import EndpointEngine

        settings = self._settings
        endpoint = EndpointEngine(
            settings.url,
            model=settings.model,
            api_key=None if settings.key is None else self._access.secret(settings.key),
            concurrency=settings.concurrency,
            tries=settings.retries + 1,
            timeout_s=settings.timeout_s,
            requests_per_minute=settings.requests_per_minute,
            extra={"response_format": {"type": "json_object"}} if settings.json_mode else None,
        )
        return _StrictEngine(endpoint, self._fault, settings.retries)

    def _judgement(self, result: GenerationResult) -> Judgement[T]:
        tokens = result.tokens_in + result.tokens_out
        if result.text is None:
            return Judgement(None, result.error or "empty reply", tokens)
        try:
            return Judgement(self._read(_object(result.text)), tokens=tokens)
        except Unreadable as error:
            return Judgement(None, str(error), tokens)

    def _fault(self, text: str) -> str | None:
        try:
            self._read(_object(text))
        except Unreadable as error:
            return str(error)
        return None


def _object(text: str) -> Mapping[str, Any]:
    """The one JSON object that a whole reply is; what only holds one somewhere is Unreadable."""
    try:
        found = read_json(text)
    except NotJson as error:
        raise Unreadable(f"not JSON: {error}: {text[:_SHOWN_CHARS]!r}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"not a JSON object: {text[:_SHOWN_CHARS]!r}")
    return found


class _StrictEngine:
    """An engine whose replies are errors unless they can be read; those are asked for again.

    Once every one of a piece's requests failed the judge is asked nothing more: it is down, or refuses us.
    """

    def __init__(self, engine: Engine, fault: Callable[[str], str | None], retries: int) -> None:
        self._engine, self._fault, self._retries = engine, fault, retries
        self._down = ""

    @property
    def version(self) -> str:
        """That of the engine."""
        return self._engine.version

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        if self._down:
            why = f"not asked: the judge answered none of the requests before; the first: {self._down}"
            return [GenerationResult(None, "error", error=why)] * len(chats)
        results = self._engine.generate(chats, options, progress)
        failed = [result.error for result in results if result.error is not None]
        if len(failed) == len(results) > 0:
            self._down = str(failed[0])
        results = [self._checked(result) for result in results]
        for _ in range(self._retries):
            again = [n for n, result in enumerate(results) if result.finish_reason == "unreadable"]
            if not again:
                break
            asked = self._engine.generate([chats[n] for n in again], options)
            for n, result in zip(again, asked, strict=True):
                results[n] = self._checked(result)
        return results

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _checked(self, result: GenerationResult) -> GenerationResult:
        if result.error is not None:
            return result
        if result.is_cut:
            fault: str | None = "cut: the reply was longer than max_tokens"
        else:
            fault = "empty reply" if result.text is None else self._fault(result.text)
        if fault is None:
            return result
        return result._replace(text=None, finish_reason="unreadable", error=fault)
