"""Where passages come from: the ledger with the artifacts it names, and the documentation."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ...record.index import LedgerIndex
from ...record.ledger import Fault, Record
from ...record.run_state import RunState
from .doc_passages import doc_passages
from .manifest import ManifestReader
from .passages import Passage
from .record_passages import RecordPassages, run_passage

if TYPE_CHECKING:
    from ...core.workspace import Workspace

_KEPT_RECORDS = 512


class PassageSources:
    """Makes passages, for the index and again for whoever is shown one."""

    def __init__(self, workspace: Workspace) -> None:
        self._ledger = LedgerIndex.of(workspace)
        self._of_record = RecordPassages(ManifestReader(workspace.artifacts))
        self._known = lru_cache(maxsize=_KEPT_RECORDS)(self._of_seq)

    def docs(self) -> list[Passage]:
        """The documentation's."""
        return list(self._docs.values())

    def of_record(self, record: Record, state: RunState | None) -> list[Passage]:
        """A record's; `state` is that of its run."""
        return list(self._of_record.of(record, state))

    def of_run(self, run: str) -> Passage | None:
        """A run's; None for one that was never proposed."""
        state = self._ledger.run_state(run)
        return run_passage(state) if state is not None else None

    def run_state(self, run: str) -> RunState | None:
        """A run as its records tell."""
        return self._ledger.run_state(run)

    def again(self, name: str, seq: int, run: str) -> Passage | None:
        """The passage of that name as ledger and documentation tell it now; None where they do not."""
        if seq == 0:
            return self._docs.get(name)
        if name.startswith("run:"):
            found = self.of_run(run)
            return found if found is not None and found.id == name else None
        return self._known(seq).get(name) or self._known_now(seq).get(name)

    def _known_now(self, seq: int) -> dict[str, Passage]:
        self._known.cache_clear()
        return self._known(seq)

    def _of_seq(self, seq: int) -> dict[str, Passage]:
        record = self._ledger.get(seq)
        if record is None or isinstance(record, Fault):
            return {}
        state = self._ledger.run_state(record.run) if record.run is not None else None
        return {passage.id: passage for passage in self.of_record(record, state)}

    @cached_property
    def _docs(self) -> dict[str, Passage]:
        return {passage.id: passage for passage in doc_passages()}
