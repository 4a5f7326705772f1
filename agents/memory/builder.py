"""Builds the index: from nothing, or on from where it stands, a part published at a time."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.settings.memory import MemoryModelSettings
from ...engines.vectors import (
    Column,
    LiteServer,
    SnapshotFolder,
    TextEncoder,
    TextRow,
    VectorCollection,
    VectorQuantiser,
    connect,
)
from ...record.ledger import Ledger
from .embedder import PassageEmbedder, embedder_name
from .identity import FITTED_ON, VERSION, IndexState, installed_docs
from .ledger_tail import LedgerPlace, place_behind, records_from
from .passages import Passage
from .record_passages import run_passage
from .runs_meant import KnownRuns, RunFacts
from .sources import PassageSources
from .spelling import Vocabulary

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from ...core.workspace import Workspace

COLUMNS = (
    Column("kind", "text"), Column("run", "text"), Column("endpoint", "text"), Column("seq", "number"),
    Column("time", "number"),
)  # fmt: skip
ENCODER, QUANTISER = "encoder.safetensors", "quantiser.safetensors"
VOCABULARY, RUNS = "vocabulary.json", "runs.json"
_PART = 4000  # passages that are published at once: what a kill costs
_EMBEDDED_AT_ONCE = 500


class IndexBuilder:
    """Writes passages into Milvus and publishes how far it came. One process at a time builds."""

    def __init__(
        self,
        workspace: Workspace,
        snapshots: SnapshotFolder,
        sources: PassageSources,
        progress: Callable[[str], None],
    ) -> None:
        self._workspace, self._snapshots = workspace, snapshots
        self._sources, self._progress = sources, progress
        self._ledger = Ledger.of(workspace)

    def is_behind(self, state: IndexState) -> bool:
        """Whether the ledger has records that the index does not."""
        return next(records_from(self._ledger, state.place), None) is not None

    def build(self, state: IndexState | None) -> IndexState:
        """Take in what is not indexed yet; from nothing where there is no state to go on from."""
        with self._working_copy(state) as place:
            is_new = state is None
            with open_client(self._workspace, place / "data") as client:
                state, embedder = self._begun(state, place, client)
            if is_new:
                self._snapshots.publish(place, state.document())
            while self.is_behind(state):
                with open_client(self._workspace, place / "data") as client:
                    collection = VectorCollection(client, state.collection, COLUMNS)
                    state = self._part(state, collection, embedder, place)
                self._snapshots.publish(place, state.document())
        return state

    @contextmanager
    def _working_copy(self, state: IndexState | None) -> Iterator[Path]:
        """A folder to write in: a copy of the snapshot in use, or an empty one."""
        if state is not None:
            with self._snapshots.copied_current() as copied:
                if copied is not None:
                    yield copied[1]
                    return
        place = Path(tempfile.mkdtemp(prefix="opswright-memory-"))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _begun(
        self, state: IndexState | None, place: Path, client: MilvusClient
    ) -> tuple[IndexState, PassageEmbedder]:
        """The state to go on from, with its embedder; of a new index, with the documentation in it."""
        endpoint = self._workspace.settings.memory.embedder
        if state is not None:
            VectorCollection(client, state.collection, COLUMNS).load()
            return state, loaded_embedder(place, endpoint, state.dimensions)
        self._progress("fitting the memory's embedder on what is recorded and documented")
        docs = self._sources.docs()
        sample = islice(chain(docs, self._some_of_ledger()), FITTED_ON)
        texts = [passage.indexed for passage in sample] or ["nothing is recorded yet"]
        encoder = TextEncoder.fit(texts)
        encoder.save(place / ENCODER)
        embedder = PassageEmbedder(encoder, endpoint)
        embedder.fit_quantiser(texts).save(place / QUANTISER)
        Vocabulary.of(texts).save(place / VOCABULARY)
        KnownRuns().save(place / RUNS)
        state = IndexState(
            version=VERSION,
            embedder=embedder_name(endpoint),
            milvus=self._workspace.settings.memory.uri or "lite",
            collection=f"opswright_{encoder.digest[:8]}_{secrets.token_hex(4)}",
            dimensions=embedder.dimensions or 0,
            docs=installed_docs(),
            fitted_on=len(texts),
            passages=0,
            place=LedgerPlace(),
        )
        VectorCollection(client, state.collection, COLUMNS).create(state.dimensions)
        collection = VectorCollection(client, docs_of(state), COLUMNS)
        collection.create(state.dimensions)
        self._write(collection, embedder, docs)
        collection.flush()
        return replace(state, passages=len(docs)), embedder

    def _some_of_ledger(self) -> Iterator[Passage]:
        for record, _, _ in records_from(self._ledger, LedgerPlace()):
            state = self._sources.run_state(record.run) if record.run is not None else None
            yield from self._sources.of_record(record, state)

    def _part(
        self, state: IndexState, collection: VectorCollection, embedder: PassageEmbedder, folder: Path
    ) -> IndexState:
        """Take in records until some thousand passages came of them."""
        passages: list[Passage] = []
        runs: dict[str, None] = {}
        last = (state.place.seq, state.place.segment, state.place.offset)
        for record, segment, offset in records_from(self._ledger, state.place):
            run = self._sources.run_state(record.run) if record.run is not None else None
            passages += self._sources.of_record(record, run)
            if record.run is not None:
                runs[record.run] = None
            last = (record.seq, segment, offset)
            if len(passages) >= _PART:
                break
        known = KnownRuns.load(folder / RUNS)
        for name in runs:
            told = self._sources.run_state(name)
            if told is not None and (found := run_passage(told)) is not None:
                passages.append(found)
                known.note(RunFacts.of(told))
        known.save(folder / RUNS)
        self._write(collection, embedder, passages)
        collection.flush()
        place = place_behind(self._ledger, *last)
        return replace(state, passages=state.passages + len(passages), place=place)

    def _write(
        self, collection: VectorCollection, embedder: PassageEmbedder, passages: list[Passage]
    ) -> None:
        for at in range(0, len(passages), _EMBEDDED_AT_ONCE):
            some = passages[at : at + _EMBEDDED_AT_ONCE]
            texts, runs = [passage.indexed for passage in some], [passage.run for passage in some]
            vectors = embedder.dense(texts)
            rows = [
                TextRow(
                    id=passage.id,
                    text=passage.title,  # what is shown is made anew: the index need not hold it
                    dense=vector,
                    sparse=sparse,
                    values={
                        "kind": passage.kind,
                        "run": passage.run,
                        "endpoint": passage.endpoint,
                        "seq": passage.seq,
                        "time": passage.time,
                    },
                )
                for passage, vector, sparse in zip(
                    some, vectors, embedder.sparse(texts, runs, vectors), strict=True
                )
            ]
            collection.upsert(rows)
            self._progress(f"indexed {at + len(some):,} of {len(passages):,} passages")


def docs_of(state: IndexState) -> str:
    """The collection of the documentation: apart, since a question often is about one side alone."""
    return f"{state.collection}_docs"


def loaded_embedder(
    place: Path, endpoint: MemoryModelSettings | None, dimensions: int | None
) -> PassageEmbedder:
    """The embedder whose parts lie in a folder; IntegrityError where they do not."""
    encoder, quantiser = TextEncoder.load(place / ENCODER), VectorQuantiser.load(place / QUANTISER)
    return PassageEmbedder(encoder, endpoint, dimensions, quantiser)


@contextmanager
def open_client(workspace: Workspace, folder: Path) -> Iterator[MilvusClient]:
    """A client of the server that is set, or of Milvus Lite on a folder of this process's own."""
    settings = workspace.settings.memory
    if settings.uri is None:
        folder.mkdir(parents=True, exist_ok=True)
        with LiteServer(folder) as server:
            yield server.client
        return
    token = settings.token.resolve() if settings.token is not None else None
    client = connect(settings.uri, token)
    try:
        yield client
    finally:
        client.close()
