"""Milvus Lite on a folder of files, for this process alone, behind a socket that only its owner can open.

pymilvus opens a `.db` path with a server on a TCP port, which every user of the machine could ask and write.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ...core.errors import BackendError, NeedsError
from .collection import connect, install_hint

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class LiteServer:
    """A client of Milvus Lite on a folder; a context manager, and nothing runs when it ends.

    Only one process may have a folder open: Milvus Lite locks it. BackendError for files it cannot read.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it logs on stderr that connections are closed
        try:
            from milvus_lite.adapter.grpc.server import start_server_in_thread
        except ImportError as error:
            raise NeedsError(f"Milvus Lite is not installed: {install_hint()}") from error
        # what clients ask that Milvus Lite has not: they go on without
        logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
        self._place = _place_of_socket()
        try:
            self._server, self._database, _ = start_server_in_thread(
                str(folder), host=f"unix:{self._place}/socket", port=0
            )
        except Exception as error:  # whatever its files made it raise
            shutil.rmtree(self._place, ignore_errors=True)
            raise BackendError(
                f"Milvus Lite cannot open {folder}: {type(error).__name__}: {error}"
            ) from error
        try:
            self.client: MilvusClient = connect(f"unix:{self._place}/socket:0")
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the client, stop the server, close the files."""
        self.client.close()
        self._stop()

    def _stop(self) -> None:
        self._server.stop(grace=0).wait(timeout=5)
        self._database.close()
        shutil.rmtree(self._place, ignore_errors=True)


def _place_of_socket() -> str:
    """A new folder that only its owner may enter, with a path that a Unix socket's address has room for."""
    prefix, most = "opswright-milvus-", 80  # of 107 characters, with what mkdtemp and the server add
    folder = tempfile.gettempdir()
    return tempfile.mkdtemp(
        prefix=prefix, dir=folder if len(os.fsencode(folder)) + len(prefix) <= most else "/tmp"
    )
