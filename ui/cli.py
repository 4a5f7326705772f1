"""The command line: stdout is for results, stderr for progress and logs; exit codes are a contract.

What takes time to import is imported once signals are minded: a call that is interrupted before its first
word ends as any other that is interrupted.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..core.errors import OpswrightError, from_system_error
from ..core.exit_code import ExitCode
from ..core.text import escaped
from .process import flushed, last_words, prepare_process

if TYPE_CHECKING:
    from ..core.registry import Registry

_INTERRUPTED = ExitCode.INTERRUPTED


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    prepare_process()
    argv = sys.argv[1:] if arguments is None else arguments
    sys.exit(flushed(run(argv)))


def run(argv: list[str], registry: Registry | None = None) -> int:
    """The exit code of one call; errors go to stderr, and as JSON to stdout when JSON was asked for."""
    try:
        if registry is None:
            from ..skills import load_registry

            registry = load_registry()
        from .application import invoke

        return invoke(registry, argv)
    except OpswrightError as error:
        return _say(error, error.exit_code, argv)
    except KeyboardInterrupt as error:
        return _say_interrupted(error, argv)
    except Exception as error:
        known = from_system_error(error, f"opswright {' '.join(argv[:1])} ran")
        if known is None:  # a defect: the traceback is for who mends it
            traceback.print_exc()
            words = f"an error nobody expected, {type(error).__name__}: {error}"
            return _say(error, ExitCode.FAILED, argv, words)
        return _say(known, known.exit_code, argv)


def _say_interrupted(error: BaseException, argv: list[str]) -> int:
    with last_words():
        words = "interrupted; `opswright status` lists the run, `opswright resume RUN` continues it"
        return _say(error, _INTERRUPTED, argv, words)


def _say(error: BaseException, code: int, argv: list[str], words: str | None = None) -> int:
    said = escaped(words or str(error), keep="\n\t")
    print(f"opswright: {said}", file=sys.stderr)
    with suppress(OSError):  # stdout is what failed, perhaps; the exit code says the rest
        if "--stream" in argv:
            from .ci.stream import write_line

            write_line("outcome", **error_document(error, code))
        elif "--json" in argv:
            print(json.dumps(error_document(error, code), indent=2))
            sys.stdout.flush()
    return code


def error_document(error: BaseException, exit_code: int) -> dict[str, Any]:
    """An error as the one JSON document on stdout."""
    ended = {"status": "failed", "outcome": ExitCode.of(exit_code).outcome, "exit_code": exit_code}
    return {**ended, "error": {"family": type(error).__name__, "message": str(error)}}


if __name__ == "__main__":
    main()
