"""Who acts: whom the token of the settings names, else the operating system's user."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ...core.errors import AskError, DeniedError, NeedsError
from ...core.principal import Principal
from ...core.secrets import SecretName
from ...core.workspace import Workspace
from .fetch import fetch_json
from .id_token import verify_token

if TYPE_CHECKING:
    from ..policy import Policy

_URL, _BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_ASK_AGAIN_S = 60.0
_given: dict[tuple[str, str], tuple[float, str]] = {}  # GitHub's tokens of this process


def acting_principal(workspace: Workspace, policy: Policy) -> Principal:
    """The principal of a command. A role in the settings narrows what a token gives, and never widens it.

    DeniedError for a token that is not taken or a role that it does not give; NeedsError without the token
    that the settings name.
    """
    settings = workspace.settings
    is_role_given = "role" in settings.model_fields_set
    if settings.identity.token is None:
        local = policy.rules.local_roles
        roles = (str(settings.role),) if is_role_given or local is None else local
        return Principal.of_os_user(settings.actor, roles)
    token = verify_token(
        _token(workspace, policy),
        policy.rules.identities,
        folder=Path(policy.source).parent,
        cache=workspace.root / "identity",
    )
    if "actor" in settings.model_fields_set and settings.actor != token.identity:
        raise AskError(f"the token says who acts: {token.identity}, not {settings.actor}. Leave --actor out.")
    roles = token.roles
    if is_role_given:
        if settings.role not in roles:
            raise DeniedError(
                f"role '{settings.role}' is not {token.identity}'s to take: the policy, {policy.source}, "
                f"gives its tokens {', '.join(roles)}. A role narrows a token and never widens it."
            )
        roles = (str(settings.role),)
    return Principal(token.identity, roles, token.authenticated_by)


def _token(workspace: Workspace, policy: Policy) -> str:
    named = workspace.settings.identity.token
    if not isinstance(named, SecretName):
        return _of_github(policy)
    return named.resolve().strip()


def _of_github(policy: Policy) -> str:
    """A token of the GitHub Actions job that this process is part of."""
    url, bearer = os.environ.get(_URL, ""), os.environ.get(_BEARER, "")
    if not url or not bearer:
        raise NeedsError(
            f"{_URL} and {_BEARER} are not set: give the job `permissions: {{id-token: write}}`. "
            "GitHub gives it to no pull request of a fork."
        )
    audiences = sorted({rule.audience for rule in policy.rules.identities.values()})
    if len(audiences) != 1:
        raise AskError(
            f"a token is asked for one audience, the policy's identities have {len(audiences)}. Give them "
            "one, or name the token by secret:env:NAME."
        )
    at, known = _given.get((url, audiences[0]), (0.0, ""))
    if known and time.monotonic() - at < _ASK_AGAIN_S:
        return known
    joined = f"{url}{'&' if '?' in url else '?'}{urlencode({'audience': audiences[0]})}"
    found = fetch_json(joined, "an identity token", {"Authorization": f"Bearer {bearer}"}).get("value")
    if not isinstance(found, str):
        raise NeedsError("the answer of GitHub holds no identity token.")
    _given[url, audiences[0]] = (time.monotonic(), found)
    return found
