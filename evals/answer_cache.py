"""Answers that an engine gave before: kept by engine, options and prompt, so that nothing is asked twice.

What was answered is kept piece by piece while an evaluation runs: one that was interrupted goes on there.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.errors import AskError
from ..core.files import make_private, sha256_json
from ..engines import (
    Chat,
    Continuation,
    Engine,
    GenerationOptions,
    GenerationResult,
    Progress,
    ScoringEngine,
)

_ASKED_AT_ONCE = 500  # keys of one look into the file
_KEPT = GenerationResult._fields.index(
    "continuations"
)  # of a result, what comes before what it was chosen by


class AnswerCache:
    """Texts by key in one SQLite file, which only its owner may read; several processes may use it.

    A file that is damaged, or locked for long, is as good as empty: it never stops an evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            make_private(path)

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """What is kept under some keys."""
        found: dict[str, Any] = {}
        try:
            with closing(self._open()) as database:
                for start in range(0, len(keys), _ASKED_AT_ONCE):
                    some = keys[start : start + _ASKED_AT_ONCE]
                    marks = ",".join("?" * len(some))
                    rows = database.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", some)
                    found.update((key, json.loads(value)) for key, value in rows)
        except (sqlite3.Error, ValueError):
            return {}
        return found

    def put(self, values: Mapping[str, Any]) -> None:
        """Keep values; what cannot be kept is asked again another time."""
        try:
            with closing(self._open()) as database, database:
                rows = [(key, json.dumps(value)) for key, value in values.items()]
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except sqlite3.Error:
            return

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=10)
        try:
            database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT)")
        except sqlite3.Error:
            database.close()
            raise
        return database


class NoAnswers(AnswerCache):
    """A cache that keeps nothing."""

    def __init__(self) -> None:
        """Open no file."""

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Nothing."""
        return {}

    def put(self, values: Mapping[str, Any]) -> None:
        """Nothing."""


class CachedEngine:
    """An engine that asks another only what it does not know, and opens it only then.

    identity: what the answers depend on besides prompt and options, as the model's digest and the library's
    version. pieces: prompts that are asked, and kept, at a time. Answers that failed are not kept.
    """

    def __init__(
        self, open_engine: Callable[[], Engine], identity: Mapping[str, Any], cache: AnswerCache, pieces: int
    ) -> None:
        self._open_engine, self._identity, self._cache, self._pieces = open_engine, identity, cache, pieces
        self._engine: Engine | None = None
        self.reused = 0  # answers that were known

    @property
    def engine(self) -> Engine:
        """The engine itself, opened when it is first needed."""
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    @property
    def version(self) -> str:
        """That of the engine."""
        return self.engine.version

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        keys = self._keys({"options": asdict(options)}, [{"chat": _plain(chat)} for chat in chats])

        def ask(numbers: list[int], told: Progress | None) -> list[GenerationResult]:
            return self.engine.generate([chats[number] for number in numbers], options, told)

        lengths = [sum(len(message["content"]) for message in chat) for chat in chats]
        return self._through(
            keys,
            lengths,
            ask,
            read=lambda value: GenerationResult(*value),
            keep=lambda result: None if result.error is not None else list(result[:_KEPT]),
            progress=progress,
        )

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        """How likely each continuation is; see ScoringEngine. AskError for an engine that cannot score."""
        asked = zip(chats, continuations, strict=True)
        keys = self._keys(
            {"prefix": prefix}, [{"chat": _plain(chat), "continuations": list(some)} for chat, some in asked]
        )

        def ask(numbers: list[int], told: Progress | None) -> list[list[Continuation]]:
            engine = self.engine
            if not isinstance(engine, ScoringEngine):
                raise AskError(
                    f"{engine.version} generates, but cannot say how likely a choice is. Set `choose_by: "
                    "generation` in the suite, or evaluate the checkpoint."
                )
            return engine.loglikelihood(
                [chats[n] for n in numbers], [continuations[n] for n in numbers], prefix, told
            )

        return self._through(
            keys,
            [sum(len(message["content"]) for message in chat) for chat in chats],
            ask,
            read=lambda value: [Continuation(*one) for one in value],
            keep=lambda some: (
                None if any(one.error is not None for one in some) else [list(one) for one in some]
            ),
            progress=progress,
        )

    def close(self) -> None:
        """Free the engine, if it was needed."""
        if self._engine is not None:
            self._engine.close()

    def _through(
        self,
        keys: Sequence[str | None],
        lengths: Sequence[int],
        ask: Callable[[list[int], Progress | None], list[Any]],
        read: Callable[[Any], Any],
        keep: Callable[[Any], Any],
        progress: Progress | None,
    ) -> list[Any]:
        """The results by key, from the cache or from the engine; pieces hold prompts of like length."""
        known = self._cache.get([key for key in keys if key is not None])
        results: list[Any] = [None] * len(keys)
        waiting = []
        for number, key in enumerate(keys):
            with suppress(TypeError):  # a value of another version of ours
                results[number] = read(known[key]) if key in known else None
            if results[number] is None:
                waiting.append(number)
        done = len(keys) - len(waiting)
        self.reused += done
        if progress is not None and done:
            progress(done, len(keys))
        for piece in _pieces(sorted(waiting, key=lambda number: lengths[number]), self._pieces):
            found = ask(piece, shifted(progress, done, len(keys)))
            if len(found) != len(piece):
                return found  # the runner says what is wrong with that
            kept = {}
            for number, result in zip(piece, found, strict=True):
                results[number] = result
                key, value = keys[number], keep(result)
                if key is not None and value is not None:
                    kept[key] = value
            self._cache.put(kept)
            done += len(piece)
        return results

    def _keys(self, of_all: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """A key for each that is asked; what all of them share is read once.

        None for text that is not valid Unicode, which an engine refuses.
        """
        shared = _key_or_none({"engine": dict(self._identity), **of_all})
        return [None if shared is None else _key_or_none({"of": shared, **one}) for one in asked]


def _key_or_none(asked: Mapping[str, Any]) -> str | None:
    try:
        return sha256_json(asked)
    except AskError:
        return None


def _plain(chat: Chat) -> list[dict[str, str]]:
    return [dict(message) for message in chat]


def _pieces(numbers: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def shifted(progress: Progress | None, before: int, of: int) -> Progress | None:
    """Progress of a piece as progress of the whole."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, of)
