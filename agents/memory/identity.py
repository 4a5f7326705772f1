"""What an index was made of: where any of it differs, the index is made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from ...record.ledger import Ledger
from .doc_passages import docs_digest
from .embedder import embedder_name
from .ledger_tail import LedgerPlace

if TYPE_CHECKING:
    from ...core.workspace import Workspace

VERSION = 3  # of how passages are written
FITTED_ON = 4000  # passages at most
_REFIT = 4  # the encoder is fitted anew when there are so many times more passages than it was fitted on


@dataclass(frozen=True)
class IndexState:
    """An index as its snapshot says of itself. place: up to where the ledger was taken in."""

    version: int
    embedder: str
    milvus: str
    collection: str
    dimensions: int
    docs: str
    fitted_on: int
    passages: int
    place: LedgerPlace

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self | None:
        """As it was published; None for what this version did not write."""
        place = LedgerPlace.of(facts.get("place"))
        try:
            return None if place is None else cls(**{**facts, "place": place})
        except TypeError:
            return None

    def document(self) -> dict[str, Any]:
        """As it is published."""
        return {**asdict(self), "place": self.place.document()}

    def differs(self, workspace: Workspace, ledger: Ledger) -> bool:
        """Whether it was made with other settings, docs or another program, or outgrew its fit."""
        settings = workspace.settings.memory
        return (
            self.version != VERSION
            or self.embedder != embedder_name(settings.embedder)
            or self.milvus != (settings.uri or "lite")
            or self.docs != installed_docs()
            or (self.fitted_on < FITTED_ON and self.passages > _REFIT * self.fitted_on + 400)
        )


@lru_cache(maxsize=1)
def installed_docs() -> str:
    """The digest of the documentation, read once in a process."""
    return docs_digest()
