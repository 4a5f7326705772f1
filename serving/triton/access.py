"""How a Triton server is reached: a socket in a folder that only its owner may enter, and a secret.

Whoever may load a model runs code here, so nobody else gets that far (docs/decisions/030-serving.md). A
server that somebody else runs is reached by its address.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECRET_HEADER = "opswright-secret"
SOCKET_NAME = "http.sock"
# every API that Triton can restrict
APIS = (
    *("health", "metadata", "inference", "shared-memory", "model-config", "model-repository"),
    *("statistics", "trace", "logging"),
)
_PRIVATE = 0o700


@dataclass(frozen=True)
class TritonAccess:
    """The socket's folder and the secret of one start of a server."""

    folder: Path
    secret: str = field(repr=False)

    @classmethod
    def prepare(cls, folder: Path) -> TritonAccess:
        """A new secret, and the folder closed to others before anything listens in it."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_PRIVATE)
        return cls(folder, secrets.token_hex(32))

    @property
    def socket(self) -> Path:
        """Where the server listens; the path may be longer than a connection allows (TritonClient)."""
        return self.folder / SOCKET_NAME

    @property
    def url(self) -> str:
        """What requests name; where they go is the socket."""
        return "http://triton"

    @property
    def headers(self) -> Mapping[str, str]:
        """What every request must carry."""
        return {SECRET_HEADER: self.secret}

    @property
    def options(self) -> list[str]:
        """The server's options, for a process whose working directory is the folder: no port is opened.

        The command line shows the secret to every local user; without the folder they cannot use it.
        """
        return [
            f"--http-address=unix:{SOCKET_NAME}",
            f"--http-restricted-api={','.join(APIS)}:{SECRET_HEADER}={self.secret}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ]


@dataclass(frozen=True)
class RemoteAccess:
    """The address of a server that somebody else runs, and the header that its control API asks for."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
