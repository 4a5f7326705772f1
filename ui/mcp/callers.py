"""Who calls: a principal, from the transport alone; nothing that a message says of itself counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.errors import HeldError
from ...core.principal import Principal
from ...core.workspace import Workspace
from .tokens import McpTokenStore

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext


@dataclass(frozen=True)
class McpCaller:
    """The principal behind a call. attended: a person sits at the client and may be asked for consent.

    is_local: the client was started by this machine's user, who reads every file that the server reads.
    """

    principal: Principal
    attended: bool
    is_local: bool

    @property
    def key(self) -> tuple[str, str]:
        """What tells callers apart: two tokens of one name are two callers."""
        return (self.principal.name, self.principal.authenticated_by)


class StdioCallers:
    """Over stdin and stdout there is one caller: whoever started the process."""

    def __init__(self, workspace: Workspace) -> None:
        settings = workspace.settings
        self._caller = McpCaller(
            Principal.of_os_user(settings.actor, (str(settings.role),)), attended=True, is_local=True
        )

    def of(self, ctx: ServerRequestContext[Any, Any]) -> McpCaller:
        """Who sent this message."""
        return self._caller


class TokenCallers:
    """Over HTTP each message brings a token, which is looked up again: one that was revoked opens nothing."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = McpTokenStore(workspace)

    def of(self, ctx: ServerRequestContext[Any, Any]) -> McpCaller:
        """Who sent this message; HeldError when its token is not valid any more."""
        from mcp.server.auth.middleware.auth_context import get_access_token

        access = get_access_token()
        token = self._store.by_id(access.client_id) if access is not None else None
        if token is None:
            raise HeldError("this session's token is not valid any more: `opswright mcp token create NAME`.")
        return McpCaller(token.principal, attended=token.attended, is_local=False)
