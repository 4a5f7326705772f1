"""Who may use the console: users from a file of hashed passwords, each with a role."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import Role


@dataclass(frozen=True)
class Person:
    """Who acts, as the ledger names them."""

    name: str
    role: Role
