"""Asks a judge, takes only replies that can be read strictly, and keeps them.

A judge that is down, slow, or does not say what it was asked for costs the items it was asked about their
score, each with the reason; it never gives one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...engines import Chat, Engine, GenerationOptions, GenerationResult, Progress
from ..answer_cache import AnswerCache, CachedEngine, NoAnswers
from ..scorers.base import ServerAccess
from ..scorers.structured import NotJson, read_json
from .allowance import held_for
from .settings import JudgeSettings

if TYPE_CHECKING:
    from ...engines.endpoint import EndpointEngine

T = TypeVar("T")

_ROUNDS = 4  # requests of each connection before a judge that failed on all of them is given up
_SHOWN_CHARS = 120
_LONGEST_REPLY = 200_000  # characters; a cache keeps every reply that was read
_LONGEST_REASON = 2_000  # characters that a report keeps of a judge's reason


class Unreadable(ValueError):
    """A judge's reply is not what it was asked for."""


class Judgement(Generic[T]):
    """What a judge said of one chat: a verdict that was read, or why there is none."""

    def __init__(self, verdict: T | None, failure: str = "", tokens: int = 0) -> None:
        self.verdict, self.failure, self.tokens = verdict, failure, tokens


class JudgeConnection:
    """A judge while it is asked: opened when it is first needed, and asked nothing more once it is down.

    It is down, or refuses us, when so many requests in a row failed (`pieces`).
    """

    def __init__(self, settings: JudgeSettings, access: ServerAccess) -> None:
        self.settings, self.access = settings, access
        self._engine: EndpointEngine | None = None
        self._guard = threading.Lock()
        self._failed, self._first_failure = 0, ""

    @property
    def version(self) -> str:
        """The judge's address and name."""
        return f"{self.settings.url} {self.settings.model}"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        if self._failed >= self.pieces:
            why = f"not asked: {self._failed} requests in a row failed: {self._first_failure}"
            return [GenerationResult(None, "error", error=why)] * len(chats)
        allowance = self.access.allowance(self.settings.url, self.settings.model, self.settings.budget_tokens)
        held = held_for(allowance, chats, options.max_tokens)
        open_places = [place for place, tokens in enumerate(held) if tokens is not None]
        why = f"not asked: budget_tokens of {self.settings.budget_tokens or 0:,} would be passed"
        results = [GenerationResult(None, "error", error=why)] * len(chats)
        asked = [chats[place] for place in open_places]
        answered = self._opened().generate(asked, options, progress) if asked else []
        for place, result in zip(open_places, answered, strict=True):
            results[place] = result
            if allowance is not None:
                allowance.settle(chats[place], held[place] or 0, result)
        with self._guard:
            for result in answered:
                if result.error is None:
                    self._failed, self._first_failure = 0, ""
                else:
                    self._failed, self._first_failure = self._failed + 1, self._first_failure or result.error
        return results

    @property
    def pieces(self) -> int:
        """Requests between two looks at whether the judge answers at all."""
        return _ROUNDS * self.settings.concurrency

    def close(self) -> None:
        """Close the connections that were opened."""
        if self._engine is not None:
            self._engine.close()

    def _opened(self) -> EndpointEngine:
        from ...engines.endpoint import EndpointEngine

        settings, counter = self.settings, self.access.counter
        with self._guard:
            if self._engine is None:
                self._engine = EndpointEngine(
                    settings.url,
                    model=settings.model,
                    api_key=None if settings.key is None else self.access.secret(settings.key),
                    concurrency=settings.concurrency,
                    tries=settings.retries + 1,
                    timeout_s=settings.timeout_s,
                    requests_per_minute=settings.requests_per_minute,
                    extra={"response_format": {"type": "json_object"}} if settings.json_mode else None,
                    count=counter(settings.url, settings.model) if counter is not None else None,
                )
            return self._engine


class JudgeClient(Generic[T]):
    """A judge with one prompt and one form of verdict.

    read: what makes a verdict of a reply's JSON object; it raises Unreadable. prompt_digest: of the prompt
    the chats are made with. Replies that were read are kept by judge, prompt and chat, so that a scoring that
    was stopped goes on where it was.
    """

    def __init__(
        self, connection: JudgeConnection, read: Callable[[Mapping[str, Any]], T], prompt_digest: str
    ) -> None:
        self._connection, self._read = connection, read
        identity = {"judge": connection.settings.document(), "prompt": prompt_digest}
        kept = connection.access.cache
        cache = NoAnswers() if kept is None else AnswerCache(kept)
        self._engine = CachedEngine(
            lambda: _StrictEngine(connection, self._fault, connection.settings.retries),
            identity,
            cache,
            connection.pieces,
        )

    def ask(self, chats: Sequence[Chat], progress: Progress | None = None) -> list[Judgement[T]]:
        """A judgement of each chat, in their order."""
        options = GenerationOptions(max_tokens=self._connection.settings.max_tokens)
        return [self._judgement(result) for result in self._engine.generate(chats, options, progress)]

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


def kept_reason(text: str) -> str:
    """A judge's reason as it is kept; of a long one its begin, and that it was cut."""
    if len(text) <= _LONGEST_REASON:
        return text
    return f"{text[:_LONGEST_REASON]}... [cut: {len(text):,} characters]"


def _object(text: str) -> Mapping[str, Any]:
    """The one JSON object that a whole reply is; what only holds one somewhere is Unreadable."""
    if len(text) > _LONGEST_REPLY:
        raise Unreadable(f"too long: {len(text):,} characters, at most {_LONGEST_REPLY:,} are read")
    try:
        found = read_json(text)
        json.dumps(found, ensure_ascii=False).encode()  # what cannot be written cannot be reported
    except UnicodeEncodeError:
        raise Unreadable("not Unicode: it holds half of a surrogate pair") from None
    except NotJson as error:
        raise Unreadable(f"not JSON: {error}: {text[:_SHOWN_CHARS]!r}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"not a JSON object: {text[:_SHOWN_CHARS]!r}")
    return found


class _StrictEngine:
    """An engine whose replies are errors unless they can be read; those are asked for again."""

    def __init__(self, engine: Engine, fault: Callable[[str], str | None], retries: int) -> None:
        self._engine, self._fault, self._retries = engine, fault, retries

    @property
    def version(self) -> str:
        """That of the engine."""
        return self._engine.version

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        results = [self._checked(one) for one in self._engine.generate(chats, options, progress)]
        for _ in range(self._retries):
            again = [n for n, result in enumerate(results) if result.finish_reason == "unreadable"]
            if not again:
                break
            asked = self._engine.generate([chats[n] for n in again], options)
            for n, result in zip(again, asked, strict=True):
                results[n] = self._checked(result)
        return results

    def close(self) -> None:
        """Nothing: the connection is its owner's."""

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
