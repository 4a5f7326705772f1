"""The socket a gateway listens on: handed over by the supervisor that keeps it, or one of its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .. import ports

LISTENER = "OPSWRIGHT_GATEWAY_LISTENER"  # the descriptor that a supervisor hands over


def listen(host: str, wanted: int | None, kept: Path) -> socket.socket:
    """The supervisor's socket where there is one; else one of our own, as `ports.listen` finds it."""
    handed = os.environ.get(LISTENER, "")
    return socket.socket(fileno=int(handed)) if handed else ports.listen(host, wanted, kept)
