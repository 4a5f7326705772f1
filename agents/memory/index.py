"""The index of the memory: passages in Milvus, built from the ledger a part at a time, and disposable.

It says what is near a question; what is shown is made anew from the ledger and the documentation, so that a
passage which somebody put into the index is never shown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError, IntegrityError, NeedsError, OpswrightError
from ...engines.vectors import Snapshot, SnapshotFolder, TextHit, VectorCollection
from ...record.ledger import Ledger
from .builder import COLUMNS, RUNS, VOCABULARY, IndexBuilder, docs_of, loaded_embedder, open_client
from .embedder import PassageEmbedder, run_term
from .field_words import recorded_words
from .identity import IndexState
from .ledger_tail import is_unchanged, stamp_of
from .passages import Passage
from .question import QuestionFilters, checked_question, prefers
from .ranking import DEEPER, DEEPEST, best_passages
from .runs_meant import KnownRuns
from .sources import PassageSources
from .spelling import Vocabulary

if TYPE_CHECKING:
    from ...core.workspace import Workspace

Progress = Callable[[str], None]
_ALL = QuestionFilters()
_ONLY_READ = "The workspace can only be read: it is indexed for as long as this process runs."
_ONLY_READ_URI = "the workspace can only be read. Ask once as somebody who may write in it."
_MENDED = 0.8  # of the weight of a word that the question has itself
_IN_OTHER_WORDS = 0.6
_OF_THE_RUN = 4.0  # as much as a rare word: a passage of a run that the question means


@dataclass(frozen=True)
class Found:
    """Passages, best first, and what a person should know of the search.

    is_empty: whether no run is recorded, so that only documentation can be found.
    """

    passages: tuple[Passage, ...]
    notes: tuple[str, ...] = ()
    is_empty: bool = False


class MemoryIndex:
    """Finds passages about a workspace. Threads may share one; processes share the files behind it.

    A context manager: what it opened is closed when it ends.
    """

    def __init__(self, workspace: Workspace, progress: Progress = lambda message: None) -> None:
        self._workspace, self._progress = workspace, progress
        self._settings = workspace.settings.memory
        self._ledger = Ledger.of(workspace)
        self._snapshots = SnapshotFolder(workspace.root / "memory")
        self._sources = PassageSources(workspace)
        self._builder = IndexBuilder(workspace, self._snapshots, self._sources, progress)
        self._lock = threading.RLock()
        self._open = ExitStack()
        self._opened: _Opened | None = None
        self._seen: tuple[object, ...] = ()

    def __enter__(self) -> MemoryIndex:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; the next question opens it again."""
        with self._lock:
            self._opened, self._seen = None, ()
            self._open.close()

    def bring_up(self) -> tuple[str, ...]:
        """Take in what was recorded since; gives notes: what could not be taken in, and why.

        Where another process is taking it in, this one goes on with what there is, or waits where that is
        nothing. Where the workspace can only be read, it is taken in for this process alone. BackendError,
        or an error of the settings, where nothing can be searched.
        """
        with self._lock:
            stamp = (stamp_of(self._ledger), self._snapshots.current())
            if stamp == self._seen:
                return (_ONLY_READ,) if self._snapshots.is_private else ()
            state = self._state()
            notes: tuple[str, ...] = ()
            if state is None or self._builder.is_behind(state):
                notes = self._take_in(state)
            if not notes:
                self._seen = (stamp_of(self._ledger), self._snapshots.current())
            return (*notes, _ONLY_READ) if self._snapshots.is_private else notes

    def _take_in(self, state: IndexState | None) -> tuple[str, ...]:
        """Build where nobody else does it; notes as of `bring_up`."""
        if not self._snapshots.can_be_written():
            if self._settings.uri is not None:  # a reader's own collections would be left on the server
                if state is None:
                    raise NeedsError(f"the memory has no index, and {_ONLY_READ_URI}")
                return (f"The newest records are not indexed: {_ONLY_READ_URI}",)
            self._snapshots.keep_private()
            state = self._state()
        with self._snapshots.writing(wait=state is None) as mine:
            if mine:
                return self._build()
        return ("Another process is indexing; the newest records may be missing.",)

    def search(self, question: str, filters: QuestionFilters = _ALL, k: int = 5) -> Found:
        """The k passages nearest to a question by words and by meaning, best first.

        AskError for a question or filters that cannot be; BackendError where Milvus fails twice.
        """
        text, _ = checked_question(question), filters.condition()
        with self._lock:
            for attempt in range(2):
                try:
                    notes = self.bring_up()
                    return self._search(text, filters, k, notes)
                except _Stale as error:
                    self._start_again(str(error), attempt)
                except (BackendError, IntegrityError) as error:
                    if self._snapshots.current() is None or self._settings.uri is not None:
                        raise
                    self._start_again(str(error), attempt, error)
            raise BackendError("the memory's index cannot be used: it differs from the ledger each time.")

    def count(self) -> int:
        """How many passages are indexed."""
        with self._lock:
            opened = self._collection()
            return opened.records.count() + opened.docs.count()

    def _start_again(self, why: str, attempt: int, error: OpswrightError | None = None) -> None:
        """Throw the index away; the second time there is nothing left to try."""
        self.close()
        if attempt and error is not None:
            raise error
        self._progress(f"the index is made anew: {why}")
        if not self._snapshots.can_be_written():
            self._snapshots.keep_private()
        with self._snapshots.writing():
            self._snapshots.forget()

    def _state(self) -> IndexState | None:
        """What the snapshot in use was made of; None where it cannot be gone on from."""
        snapshot = self._snapshots.current()
        state = IndexState.of(snapshot.facts) if snapshot is not None else None
        if state is None or state.differs(self._workspace, self._ledger):
            return None
        return state if is_unchanged(self._ledger, state.place) else None

    def _build(self) -> tuple[str, ...]:
        """Build while nobody else does; where that fails and there is an index, go on with it."""
        state = self._state()
        try:
            self._builder.build(state)
        except OpswrightError as error:
            if self._state() is None:
                raise
            return (f"The newest records are not indexed: {error}",)
        return ()

    def _collection(self) -> _Opened:
        snapshot = self._snapshots.current()
        if self._opened is None or self._opened.snapshot != snapshot:
            self._open.close()
            self._opened = None
            self._opened = self._open.enter_context(_opening(self._workspace, self._snapshots))
        return self._opened

    def _search(self, text: str, filters: QuestionFilters, k: int, notes: tuple[str, ...]) -> Found:
        opened = self._collection()
        embedder, dense, meaning = opened.embedder, None, {}
        mended = opened.vocabulary.mended(text)
        words = _question_words(opened, text, mended)
        try:
            vector = embedder.dense([f"{text} {mended}"])[0]
            if vector.any() and embedder.quantiser is not None:
                dense, meaning = vector, embedder.quantiser.question(vector, opened.passages)
        except OpswrightError as error:
            notes = (*notes, f"Searched by words alone: {error}")
        hits = _best(opened, prefers(text) or prefers(mended), filters, (words, meaning, dense), k)
        found = []
        for hit in hits:
            passage = self._sources.again(hit.id, int(hit.values["seq"]), str(hit.values["run"]))
            if passage is None:
                raise _Stale(f"a passage of record {hit.values['seq']} is not what the ledger holds")
            found.append(passage)
        return Found(tuple(found), notes, opened.runs.are_none)


def _question_words(opened: _Opened, text: str, mended: str) -> dict[int, float]:
    """What a question is searched by: its words, mended, in the record's words, and the runs it means."""
    encoder = opened.embedder.encoder
    words = encoder.sparse_question(text)
    others = f"{recorded_words(text)} {recorded_words(mended)}"
    for said, share in ((mended, _MENDED), (others, _IN_OTHER_WORDS)):
        for term, weight in encoder.sparse_question(said).items():
            words[term] = max(words.get(term, 0.0), share * weight)
    for run in opened.runs.meant(mended) or opened.runs.meant(text):
        words[run_term(run)] = _OF_THE_RUN
    return words


def _best(
    opened: _Opened, about: str, filters: QuestionFilters, vectors: tuple[Any, Any, Any], k: int
) -> list[TextHit]:
    """The k best. A question that is about the record, or the docs, leaves the other side one place."""
    condition = filters.condition()
    deep = max(DEEPER * k, DEEPEST)
    docs = opened.docs.search(*vectors, deep, condition) if filters.may_be_docs else []
    records = opened.records.search(*vectors, deep, condition) if filters.may_be_record else []
    return best_passages(records, docs, about if not condition else "", k)


class _Stale(Exception):
    """The index holds what the ledger does not."""


@dataclass(frozen=True)
class _Opened:
    snapshot: Snapshot
    records: VectorCollection
    docs: VectorCollection
    embedder: PassageEmbedder
    vocabulary: Vocabulary
    runs: KnownRuns
    passages: int


class _opening:
    """A snapshot of the index, opened for searching."""

    def __init__(self, workspace: Workspace, snapshots: SnapshotFolder) -> None:
        self._workspace, self._snapshots, self._stack = workspace, snapshots, ExitStack()

    def __enter__(self) -> _Opened:
        with ExitStack() as stack:
            copied = stack.enter_context(self._snapshots.copied_current())
            if copied is None:
                raise IntegrityError("the memory has no index.")
            snapshot, place = copied
            state = IndexState.of(snapshot.facts)
            if state is None:
                raise IntegrityError("the memory's index cannot be read.")
            client = stack.enter_context(open_client(self._workspace, place / "data"))
            records = VectorCollection(client, state.collection, COLUMNS)
            docs = VectorCollection(client, docs_of(state), COLUMNS)
            for collection in (records, docs):
                collection.load()
            settings = self._workspace.settings.memory
            embedder = loaded_embedder(place, settings.embedder, state.dimensions)
            vocabulary, runs = Vocabulary.load(place / VOCABULARY), KnownRuns.load(place / RUNS)
            self._stack = stack.pop_all()
        return _Opened(snapshot, records, docs, embedder, vocabulary, runs, state.passages)

    def __exit__(self, *raised: object) -> None:
        self._stack.close()
