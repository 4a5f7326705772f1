"""What `policy.yaml` says of identities: whose tokens are taken, and what their holders may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PREFIX = "id token of "  # how principals of tokens are known, in records
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DECIDED = frozenset({"iss", "aud", "exp", "nbf", "iat"})  # by fields of their own

# Issuers that give tokens to everybody, and the claims that say whose a token is.
_OWNERS: Mapping[str, frozenset[str]] = {
    "https://token.actions.githubusercontent.com": frozenset(
        {"sub", "repository", "repository_id", "repository_owner", "repository_owner_id"}
    ),
    "https://gitlab.com": frozenset({"sub", "project_path", "project_id", "namespace_path", "namespace_id"}),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeySource(_Frozen):
    """Where the issuer's public keys are: an address, or a file that needs no network."""

    url: str | None = Field(None, description="Address of the JSON Web Key Set (https).")
    file: Path | None = Field(None, description="File of the key set, relative to the policy's folder.")
    max_age_hours: float = Field(
        24, gt=0, le=24 * 30, description="Hours that keys from an address count without being asked again."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either url or file")
        if self.url is not None and not is_safe_url(self.url):
            raise ValueError("expected an https address without user name or password")
        return self


class IdentityRule(_Frozen):
    """Whose tokens are one principal of the policy: every claim named has to be in the token as it is."""

    issuer: str = Field(min_length=1, description="The token's `iss`, in full.")
    audience: str = Field(min_length=1, description="The token's `aud`: what it was made for.")
    jwks: KeySource = Field(description="The issuer's public keys.")
    claims: dict[str, str | tuple[str, ...]] = Field(
        min_length=1, description="Claims the token needs, each a value or a list of which one is enough."
    )
    roles: tuple[str, ...] = Field(min_length=1, description="Roles of who brings such a token.")

    @field_validator("claims")
    @classmethod
    def _can_decide(cls, claims: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        if taken := sorted(_DECIDED & claims.keys()):
            raise ValueError(f"'{taken[0]}' is decided by a field of its own or by the clock")
        if empty := sorted(name for name, value in claims.items() if not value or "" in tuple(value)):
            raise ValueError(f"claim '{empty[0]}' has no value")
        return claims

    @model_validator(mode="after")
    def _names_its_owner(self) -> Self:
        owners = _OWNERS.get(self.issuer.rstrip("/"))
        if owners is not None and not owners & self.claims.keys():
            raise ValueError(
                f"{self.issuer} gives tokens to everybody: name one of the claims {', '.join(sorted(owners))}"
            )
        return self

    def allowed(self, claim: str) -> tuple[str, ...]:
        """The values of a claim that will do."""
        value = self.claims[claim]
        return (value,) if isinstance(value, str) else value


def check_identity_names(names: Mapping[str, IdentityRule]) -> Mapping[str, IdentityRule]:
    """The identities as they are; ValueError for a name that cannot stand in a record."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"identity '{name[:80]}': expected small letters, digits and . _ -")
    return names


def is_safe_url(url: str) -> bool:
    """Whether keys or tokens may be asked for there: over TLS, or on this machine alone."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if "@" in parts.netloc or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "localhost", "::1"))
