"""How a command or a run can end, each way with an exit code of its own: what scripts and CI go by."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """The exit codes that are promised."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_GO = 3
    INCONCLUSIVE = 4
    NEEDS_APPROVAL = 5
    BUDGET = 6
    INTEGRITY = 7
    DENIED = 8
    INTERRUPTED = 130

    @classmethod
    def of(cls, code: int) -> Self:
        """What a code means; any that is not promised is a failure."""
        return cls(code) if code in set(cls) else cls(cls.FAILED)

    @property
    def outcome(self) -> str:
        """The outcome's name, as JSON documents and reports have it: "needs approval", "NO_GO"."""
        is_verdict = self in (ExitCode.NO_GO, ExitCode.INCONCLUSIVE)
        return self.name if is_verdict else self.name.lower().replace("_", " ")

    @property
    def in_words(self) -> str:
        """What it means, for who reads a report."""
        return _WORDS[self]


_WORDS = {
    ExitCode.DONE: "done, and every gate said GO",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "a wrong command, request or plan file",
    ExitCode.NO_GO: "a gate said NO_GO",
    ExitCode.INCONCLUSIVE: "a gate could not decide",
    ExitCode.NEEDS_APPROVAL: "somebody has to approve it first",
    ExitCode.BUDGET: "a budget or limit was reached",
    ExitCode.INTEGRITY: "something is not what its record says",
    ExitCode.DENIED: "a person or the policy does not allow it",
    ExitCode.INTERRUPTED: "interrupted",
}
