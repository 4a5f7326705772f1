"""The socket a gateway listens on: bound here, or handed over by the supervisor that keeps it."""

from __future__ import annotations

import os
import socket

from ...core.errors import from_os_error
from .. import processes

LISTENER = "OPSWRIGHT_GATEWAY_LISTENER"  # the descriptor that a supervisor hands over
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """The supervisor's socket where there is one; else one of our own. NeedsError as `bind`."""
    handed = os.environ.get(LISTENER, "")
    return socket.socket(fileno=int(handed)) if handed else bind(host, port)


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
