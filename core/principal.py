"""A principal: who acts, with which roles, and how that is known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .errors import DeniedError, HeldError

OS_USER = "os user "  # how whoever runs the process is known


def os_user() -> str:
    """The account that this process runs as, whatever its environment says; `uid N` without a name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run as any number
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class Principal:
    """Who proposes, approves or runs; it enters with a call, never from a chat's text or a plan.

    authenticated_by: how the name is known, such as "os user ada" or "console login".
    """

    name: str
    roles: tuple[str, ...]
    authenticated_by: str

    @classmethod
    def of_os_user(cls, name: str, roles: tuple[str, ...]) -> Self:
        """Whoever runs this process, under the name that the settings give them."""
        return cls(name, roles, f"{OS_USER}{os_user()}")

    def fields(self) -> dict[str, Any]:
        """The principal as the fields of a ledger record."""
        return {"actor": self.name, "roles": list(self.roles), "authenticated_by": self.authenticated_by}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The principal that a ledger record's fields name."""
        return cls(str(fields["actor"]), tuple(fields["roles"]), str(fields["authenticated_by"]))

    def __str__(self) -> str:
        """As people read it: ada (operator)."""
        return f"{self.name} ({', '.join(self.roles) or 'no role'})"


@dataclass(frozen=True)
class Ruling:
    """What a policy says to one question: whether it is allowed, by which rule, and in words for a person."""

    allowed: bool
    rule: str
    message: str = ""
    needs_approval: bool = False  # whether somebody's approval would change it

    def check(self) -> None:
        """HeldError for what somebody's approval would allow, DeniedError for what none would."""
        if not self.allowed:
            raise HeldError(self.message) if self.needs_approval else DeniedError(self.message)
