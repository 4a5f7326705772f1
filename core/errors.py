"""One family of errors, named by who must act.

Each message says what was asked, what was found and what to do. A person never sees a traceback for
`AskError`, `NeedsError` or `HeldError`; a `BackendError` keeps its cause and the path of the log.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

from .exit_code import ExitCode


class OpswrightError(Exception):
    """The root of the family; `exit_code` is what the command line ends with."""

    exit_code = ExitCode.FAILED

    @property
    def family(self) -> str:
        """The class's name as records and JSON documents show it."""
        return type(self).__name__


class AskError(OpswrightError):
    """The request is wrong: whoever made it (a person or a model) can put it right."""

    exit_code = ExitCode.USAGE


class NeedsError(OpswrightError):
    """The machine lacks something: the text holds the command that provides it."""


class BackendError(OpswrightError):
    """A trainer, engine or server failed: `__cause__` is why, `log` is where to read on."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(f"{message}\nLog: {log}" if log else message)
        self.log = log


class HeldError(OpswrightError):
    """A person must act first, such as approve the plan."""

    exit_code = ExitCode.NEEDS_APPROVAL


class StoppedError(HeldError):
    """A person stopped it: what is finished is kept, and a person goes on with it."""

    exit_code = ExitCode.INTERRUPTED


class DeniedError(HeldError):
    """A person, a role or a rule does not allow it: nobody's approval of this would change that."""

    exit_code = ExitCode.DENIED


class BudgetError(HeldError):
    """A budget or a limit was reached; what is done so far is kept."""

    exit_code = ExitCode.BUDGET


class IntegrityError(HeldError):
    """Something is not what its record says it is: a person must look before anything goes on."""

    exit_code = ExitCode.INTEGRITY


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f" Did you mean '{close[0]}'?" if close else ""


def from_os_error(error: OSError, doing: str) -> OpswrightError:
    """The family member for an operating-system error met while `doing` something."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NeedsError(
            f"no space left on the disk while {doing} ({error.filename or 'unknown file'}). "
            "Nothing was lost: free some space (`df -h .`), then repeat the command, or continue its run "
            "with `opswright resume RUN`."
        )
    if error.errno == errno.EFBIG:
        return NeedsError(
            f"a file is too large for this disk, or for what this process may write, while {doing} "
            f"({error.filename or 'unknown file'}). Use another disk, or `ulimit -f unlimited`."
        )
    if error.errno == errno.ENAMETOOLONG:
        return AskError(
            f"a name is too long for this disk while {doing}: {error.filename}. "
            "Use shorter names, or a workspace that lies less deep."
        )
    if error.errno == errno.EADDRINUSE:
        return NeedsError(
            f"a port is already in use while {doing}: {error}. Stop its owner or choose another port."
        )
    if isinstance(error, BrokenPipeError):
        return BackendError(f"whoever read what was written has gone, while {doing}.")
    if isinstance(error, FileNotFoundError):
        return AskError(f"file not found while {doing}: {error.filename}. Check the path.")
    if isinstance(error, PermissionError):
        return NeedsError(
            f"permission denied while {doing}: {error.filename}. Check the owner and mode of that path."
        )
    return BackendError(f"the system refused while {doing}: {error}")


def from_system_error(error: Exception, doing: str) -> OpswrightError | None:
    """The family member for an error of the operating system or a database file; None for any other."""
    if isinstance(error, OSError):
        return from_os_error(error, doing)
    name = str(getattr(error, "sqlite_errorname", ""))
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return NeedsError(
            f"a database of the workspace could not be read or written while {doing}: {error}. See that the "
            "disk has space (`df -h .`) and that the folder may be written. Nothing was lost: repeat the "
            "command, or continue its run with `opswright resume RUN`."
        )
    return None
