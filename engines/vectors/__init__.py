"""Vectors in Milvus: a collection of texts, found by words and by meaning, and the files of a local one."""

from .collection import Column, TextHit, TextRow, VectorCollection, connect, install_hint
from .encoder import TextEncoder
from .lite import LiteServer
from .snapshots import Snapshot, SnapshotFolder

__all__ = [
    "Column",
    "LiteServer",
    "Snapshot",
    "SnapshotFolder",
    "TextEncoder",
    "TextHit",
    "TextRow",
    "VectorCollection",
    "connect",
    "install_hint",
]
