"""Errors without secrets: whatever a skill raised, what leaves its step tells none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import BackendError, OpswrightError
from ..core.secrets import Redactor


def redacted(error: BaseException, redactor: Redactor) -> BaseException:
    """The error without secrets, whatever its class does to say what it says.

    Once a secret was resolved no object that a skill made is let out: a member of the same family takes its
    place, with its exit code, name, log and causes.
    """
    if not redactor.knows_secrets:
        return error
    text = redactor.text(_said_by(error))
    if isinstance(error, OpswrightError):
        family = next(one for one in type(error).__mro__ if one.__module__ == OpswrightError.__module__)
        kept: dict[str, Any] = {"exit_code": error.exit_code}
        if isinstance(error, BackendError):
            kept["log"] = error.log and Path(redactor.text(str(error.log)))
        clean = _made(family, redactor.text(error.family), text, kept)
    elif type(error) in (KeyboardInterrupt, SystemExit, GeneratorExit):
        clean = type(error)(*redactor.plain(error.args))
    elif isinstance(error, Exception):
        clean = BackendError(f"{redactor.text(type(error).__name__)}: {text}")
    else:  # it was not meant to be caught
        clean = _made(BaseException, redactor.text(type(error).__name__), text, {})
    clean.__cause__ = _redacted_cause(error, redactor)
    return clean


def _redacted_cause(error: BaseException, redactor: Redactor) -> BaseException | None:
    """What led to an error, as plain exceptions of the same names and redacted texts."""
    chain: list[BaseException] = []
    one = error.__cause__
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__
    cause: BaseException | None = None
    for one in reversed(chain):
        name, text = redactor.text(type(one).__name__), redactor.text(_said_by(one))
        made = _made(Exception, name, text, {})
        made.__cause__, cause = cause, made
    return cause


def _made(base: type[BaseException], name: str, text: str, kept: dict[str, Any]) -> BaseException:
    """An exception of a class called `name` below `base` that says `text` and nothing else."""
    kind: type[BaseException] = type(name, (base,), kept)
    made = kind.__new__(kind)
    made.args = (text,)
    return made


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its class cannot say it
        return "an error that cannot be shown"
