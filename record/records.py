"""The ledger's words: phases, records, what is to be recorded, and how a line of the ledger is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ..core.errors import IntegrityError
from ..core.files import sha256_json
from ..core.principal import Principal
from .environment import environment_digest


class Phase(StrEnum):
    """What a record says happened."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    RESERVED = "reserved"
    INTENT = "intent"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    REUSED = "reused"
    SETTLED = "settled"
    ROLLED_BACK = "rolled_back"


PLANNING = "planning"  # stands for a skill: what the making of a plan took, as with a model


@dataclass(frozen=True)
class Record:
    """One line of the ledger. `request` and `result` are digests; their text is in `detail`."""

    seq: int
    time: str
    actor: str
    roles: list[str]
    authenticated_by: str
    phase: str
    run: str | None
    step: str | None
    skill: str | None
    effect: str | None
    plan: str | None
    request: str | None
    result: str | None
    artifacts: Mapping[str, str]
    environment: str
    detail: Mapping[str, Any]
    prev: str
    hash: str

    @property
    def principal(self) -> Principal:
        """Who acted."""
        return Principal(self.actor, tuple(self.roles), self.authenticated_by)

    @property
    def role(self) -> str:
        """The roles of who acted, as people read them."""
        return ", ".join(self.roles)

    def unsigned(self) -> dict[str, Any]:
        """The record as the dictionary its hash is taken of."""
        body = asdict(self)
        del body["hash"]
        return body


@dataclass(frozen=True)
class Entry:
    """What is to be recorded; number, time, principal, environment and hashes are added when it is appended.

    `request` and `result` are recorded whole in `detail`, and by their digests.
    """

    phase: Phase
    run: str | None = None
    step: str | None = None
    skill: str | None = None
    effect: str | None = None
    plan: str | None = None
    request: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    artifacts: Mapping[str, str] | None = None
    detail: Mapping[str, Any] | None = None

    def body(self, seq: int, prev: str, principal: Principal) -> dict[str, Any]:
        """The record without its hash."""
        return {
            "seq": seq,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            **principal.fields(),
            "phase": str(self.phase),
            "run": self.run,
            "step": self.step,
            "skill": self.skill,
            "effect": self.effect,
            "plan": self.plan,
            "request": None if self.request is None else sha256_json(self.request),
            "result": None if self.result is None else sha256_json(self.result),
            "artifacts": dict(self.artifacts or {}),
            "environment": environment_digest(),
            "detail": {
                **(self.detail or {}),
                **({} if self.request is None else {"request": dict(self.request)}),
                **({} if self.result is None else {"result": dict(self.result)}),
            },
            "prev": prev,
        }


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the ledger: the record's number (0: none), and what was found."""

    seq: int
    message: str


_NUMBERS = 1 << 62
_FIELDS = frozenset(field.name for field in fields(Record))


def parse_line(line: bytes, where: str) -> Record:
    """The record that a line holds; IntegrityError, naming where it is, when it holds none."""
    try:
        body = json.loads(str(line, "utf-8"))
        if isinstance(body, dict) and body.keys() == _FIELDS:
            record = object.__new__(Record)  # what its __init__ does, in a quarter of the time
            object.__setattr__(record, "__dict__", body)
        else:
            record = Record(**body)
    except TypeError as error:
        if b'"role":' in line and b'"roles":' not in line:
            raise IntegrityError(
                f"the ledger was written by an older Opswright (at {where}): this one does not read it. "
                "Keep the workspace as it is and start a new one (`--home FOLDER`)."
            ) from error
        raise damage(where, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise damage(where, str(error)) from error
    digests = all(isinstance(d, str) and len(d) == 64 and d.isascii() for d in (record.prev, record.hash))
    mappings = isinstance(record.artifacts, dict) and isinstance(record.detail, dict)
    named = isinstance(record.actor, str) and isinstance(record.roles, list)
    if not (
        type(record.seq) is int
        and abs(record.seq) < _NUMBERS
        and isinstance(record.time, str)
        and digests
        and mappings
        and named
    ):
        raise damage(where, "a field has the wrong type")
    return record


def damage(where: str, message: str) -> IntegrityError:
    """The error for a line that is not as a ledger's lines are."""
    return IntegrityError(
        f"the ledger is damaged at {where}: {message}. Nothing was changed; see `opswright audit verify`."
    )


def wrong_in(record: Record, line: bytes, seq: int, prev: str) -> str | None:
    """What is wrong with a record that should have this number and follow this hash.

    The hash is taken of the line's own bytes without its hash, so not even a doubled key or a space hides.
    """
    if record.seq != seq:
        return f"record {seq} is missing or out of order (found {record.seq})"
    if record.prev != prev:
        return f"record {seq} does not follow the one before it"
    unsigned = line[:-1].replace(b'"hash":"%s",' % record.hash.encode(), b"", 1)
    if hashlib.sha256(unsigned).hexdigest() != record.hash:
        return f"record {seq} was altered: its hash does not match"
    return None
