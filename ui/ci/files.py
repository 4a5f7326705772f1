"""Which reports a command was asked to write, and where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...core.errors import AskError, OpswrightError
from ...core.exit_code import ExitCode

if TYPE_CHECKING:
    from .report import CiReport

Junit = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write a JUnit report: steps and rows of gates as tests."),
]
Sarif = Annotated[
    Path | None,
    typer.Option("--sarif", metavar="FILE", help="Write a SARIF 2.1.0 report: findings at the plan's file."),
]
Summary = Annotated[
    Path | None,
    typer.Option("--summary", metavar="FILE", help="Add a Markdown summary to the end of this file."),
]


@dataclass(frozen=True)
class CiFiles:
    """The reports of one command. `title` is what it is called before there is a plan."""

    title: str = "opswright"
    junit: Path | None = None
    sarif: Path | None = None
    summary: Path | None = None
    source: Path | None = None  # the plan's file
    output: Path | None = None  # what the command writes besides

    @property
    def is_wanted(self) -> bool:
        """Whether any report was asked for."""
        return any((self.junit, self.sarif, self.summary))

    @contextmanager
    def of_errors(self) -> Iterator[None]:
        """While inside, an error is also written as a report; nothing is run for reports that cannot be.

        Reports of an earlier command go first: one that is killed leaves none that says it went well.
        """
        self._check()
        for path in filter(None, (self.junit, self.sarif)):
            path.unlink(missing_ok=True)
        try:
            yield
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # whatever it is: no report may say less
            if self.is_wanted:
                from .report import report_of_error

                code = error.exit_code if isinstance(error, OpswrightError) else ExitCode.FAILED
                if isinstance(error, KeyboardInterrupt | typer.Abort):
                    code = ExitCode.INTERRUPTED
                self.write(report_of_error(self.title, error, code))
            raise

    def write(self, report: CiReport) -> None:
        """Write every report that was asked for; the summary is added to what its file holds."""
        from ...core.files import write_atomically
        from .junit import junit
        from .sarif import sarif
        from .summary import summary

        if self.junit is not None:
            write_atomically(self.junit, junit(report))
        if self.sarif is not None:
            document = json.dumps(sarif(report, self.source), indent=2, ensure_ascii=False)
            write_atomically(self.sarif, f"{document}\n".encode())
        if self.summary is not None:
            with self.summary.open("a", encoding="utf-8") as file:
                file.write(summary(report))

    def _check(self) -> None:
        """AskError for a report that could not be written, before anything is run."""
        if self.output is not None and self.output.is_dir():
            raise AskError(
                f"--output {self.output} is a folder: name a file, such as {self.output}/plan.json."
            )
        if self.output is not None and self.source is not None and _is_same(self.output, self.source):
            raise AskError(f"--output {self.output} cannot be written: it is the plan's file.")
        named = {"--junit": self.junit, "--sarif": self.sarif, "--summary": self.summary}
        wanted = {option: path for option, path in named.items() if path is not None}
        for option, path in wanted.items():
            is_other = path.exists() and not path.is_file()  # a folder, a device
            if is_other or not os.access(path.absolute().parent, os.W_OK):
                raise AskError(f"{option} {path} cannot be written: expected a file in a writable folder.")
            if self.source is not None and _is_same(path, self.source):
                raise AskError(f"{option} {path} cannot be written: it is the plan's file.")
            if self.output is not None and _is_same(path, self.output):
                raise AskError(f"{option} {path} cannot be written: --output has the same file.")
        if any(_is_same(one, other) for one, other in combinations(wanted.values(), 2)):
            raise AskError("two reports were given the same file.")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by whichever name."""
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)
