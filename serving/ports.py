"""The port a gateway listens on: the one that is named, else the usual one, else a free one that is kept."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from ..core.errors import OpswrightError, from_os_error
from ..core.files import write_atomically
from ..core.workspace import Workspace
from . import processes
from .server_selection import serving_folder

USUAL = 8700
_BACKLOG = 1024


def kept_port(workspace: Workspace) -> Path:
    """Where a gateway whose port nobody named keeps the one it has."""
    return serving_folder(workspace) / "port"


def listen(host: str, wanted: int | None, kept: Path) -> socket.socket:
    """The socket to listen on; NeedsError, naming the owner, when a port that is named is taken.

    Without a name, the workspace keeps the port that it had last (in the file `kept`), as far as that is
    free: several workspaces on one machine each have their own.
    """
    if wanted is not None:
        return bind(host, wanted)
    for port in dict.fromkeys((_last(kept) or USUAL, USUAL)):
        with contextlib.suppress(OpswrightError):
            return _keeping(bind(host, port), kept)
    return _keeping(bind(host, 0), kept)


def bind(host: str, port: int) -> socket.socket:
    """The socket to listen on; NeedsError, naming the owner, when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol by name: asyncio switches Nagle's delay (40 ms an answer) off only for sockets that say TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        processes.need_port(port, "the gateway")
        raise from_os_error(error, f"the gateway wanted {host}:{port}") from error
    listener.set_inheritable(True)
    return listener


def held_port() -> tuple[socket.socket, socket.socket]:
    """A free port of this machine for this user alone: the socket to listen on, and the one that holds it.

    Who was told the port sends secrets there: until the second is closed nobody else can take it, and
    connections are refused once the first is.
    """
    holder, listener = (socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) for _ in "ab")
    try:
        for one in (holder, listener):  # other users' sockets cannot share it
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        listener.bind(holder.getsockname())
        listener.listen(_BACKLOG)
    except OSError as error:
        holder.close()
        listener.close()
        raise from_os_error(error, "the gateway wanted a port for one of its workers") from error
    return listener, holder


def _keeping(listener: socket.socket, kept: Path) -> socket.socket:
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, str(listener.getsockname()[1]).encode())
    return listener


def _last(kept: Path) -> int | None:
    try:
        port = int(kept.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return port if 0 < port < 65536 else None
