"""Tokens of the MCP server's HTTP way in: each stands for one principal, and is kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import AskError, did_you_mean
from ...core.principal import Principal
from ...core.private_file import PrivateFile
from ...core.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TEXT = re.compile(r"opsmcp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_NOBODYS_HASH = "0" * 64


class McpToken(BaseModel):
    """A token as it is kept. `hash` is the SHA-256 of its text, which holds 256 random bits.

    attended: a person sits at the client, who may be asked for consent there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=f"^{_NAME.pattern}$")
    role: str = Field(min_length=1, max_length=40)
    attended: bool = False
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: datetime
    revoked: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return Principal(self.name, (self.role,), f"mcp token {self.id}")


class _Tokens(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: dict[str, McpToken]


@dataclass(frozen=True)
class NewMcpToken:
    """A token that was just made, and the only moment at which its text is known."""

    token: McpToken
    text: str


class McpTokenStore:
    """The tokens of one workspace; whoever reads it sees a change at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._file = PrivateFile(
            workspace.root / "mcp-tokens.json",
            "file of MCP tokens",
            "opswright mcp token create NAME",
            _Tokens.model_validate_json,
        )

    def tokens(self) -> dict[str, McpToken]:
        """Every token by id, oldest first. AskError when the file cannot be read or trusted."""
        return dict(self._file.read().tokens) if self._file.path.exists() else {}

    def find(self, text: str) -> McpToken | None:
        """The valid token of that text, compared in constant time; None for what is none."""
        parts = _TEXT.fullmatch(text)
        token = self.tokens().get(parts[1]) if parts else None
        hashed = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        matches = hmac.compare_digest(hashed, token.hash if token is not None else _NOBODYS_HASH)
        return token if matches and token is not None and token.revoked is None else None

    def by_id(self, token_id: str) -> McpToken | None:
        """The token of that id as the file has it now; None when it was revoked."""
        token = self.tokens().get(token_id)
        return token if token is not None and token.revoked is None else None

    def create(self, name: str, role: str, *, attended: bool = False) -> NewMcpToken:
        """Give out a token for a principal of that name and role."""
        if not _NAME.fullmatch(name):
            raise AskError(f"invalid name {name[:80]!r}: expected 1 to 64 letters, digits, . _ - @")
        token_id = secrets.token_hex(6)
        text = f"opsmcp_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        hashed = hashlib.sha256(text.encode()).hexdigest()
        made = McpToken(
            id=token_id, name=name, role=role, attended=attended, hash=hashed, created=datetime.now(UTC)
        )
        with self._workspace.lock("mcp-tokens"):
            self._write({**self.tokens(), token_id: made})
        return NewMcpToken(made, text)

    def revoke(self, which: str) -> McpToken:
        """Take a token back, by its id or by the name that one valid token has."""
        with self._workspace.lock("mcp-tokens"):
            tokens = self.tokens()
            valid = [one for one in tokens.values() if one.name == which and one.revoked is None]
            found = tokens.get(which) or (valid[0] if len(valid) == 1 else None)
            if found is None:
                why = (
                    f"{len(valid)} valid tokens have the name"
                    if valid
                    else "no valid token has the id or name"
                )
                hint = did_you_mean(which, [*tokens, *(one.name for one in tokens.values())])
                raise AskError(f"{why} '{which[:80]}'.{hint} `opswright mcp token list` shows all.")
            revoked = found.model_copy(update={"revoked": found.revoked or datetime.now(UTC)})
            self._write({**tokens, found.id: revoked})
        return revoked

    def _write(self, tokens: Mapping[str, McpToken]) -> None:
        plain = _Tokens(tokens=dict(tokens)).model_dump(mode="json")
        self._file.write((json.dumps(plain, indent=2) + "\n").encode())
