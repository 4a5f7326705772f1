"""Vectors in Milvus: a collection of texts, found by words and by meaning, and the files of a local one."""

from .candidates import Candidate, TextHit, blended
from .collection import Column, TextRow, VectorCollection, connect, install_hint
from .encoder import TextEncoder
from .lite import LiteServer
from .quantiser import VectorQuantiser
from .snapshots import Snapshot, SnapshotFolder

__all__ = [
    "Candidate",
    "Column",
    "LiteServer",
    "Snapshot",
    "SnapshotFolder",
    "TextEncoder",
    "TextHit",
    "TextRow",
    "VectorCollection",
    "VectorQuantiser",
    "blended",
    "connect",
    "install_hint",
]
