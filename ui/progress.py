"""A run as it happens, in a terminal: a line and a bar for each step, on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from ..core.text import escaped

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_EVERY_S = 10.0
_KEPT = "\n\t"  # of a line of log; anything else that moves text is shown as its escape


class PlainEvents:
    """News as lines, for logs and pipes: at most one progress line in ten seconds."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __enter__(self) -> PlainEvents:
        """The events themselves: lines need no preparation."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave the lines as they are."""

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """A line now and then, and one at the end."""
        now = time.monotonic()
        if now - self._last.get(step, 0) >= _PLAIN_EVERY_S or done == total:
            self._last[step] = now
            print(f"{step}: {done:g}{f' of {total:g}' if total else ''} {escaped(unit)}", file=sys.stderr)

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """Figures are in the result and the record; lines would drown the log."""

    def log(self, step: str, line: str) -> None:
        """The line, with its step."""
        print(f"{step}: {escaped(line, keep=_KEPT)}", file=sys.stderr)

    def begun(self, step: str, skill: str) -> None:
        """A line, so that a log shows what is going on."""
        print(f"{step}: {skill} starts", file=sys.stderr)

    def ended(self, step: str, how: str, seconds: float) -> None:
        """A line with the time it took."""
        print(f"{step}: {how} in {seconds:.1f} s", file=sys.stderr)


class TerminalEvents:
    """News as bars that move, with the newest figures and the elapsed time beside each."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._figures: dict[str, dict[str, float]] = {}

    def __enter__(self) -> TerminalEvents:
        """Take the terminal's last lines for a bar of each step."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave the bars as they stand."""
        if self._progress is not None:
            self._progress.stop()

    def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
        """Move the step's bar."""
        if self._progress is None:
            return
        count = f"{done:,.0f}/{total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
        self._progress.update(self._task(step), completed=done, total=total, count=count)

    def metric(self, step: str, name: str, value: float, at: int | None) -> None:
        """Show the newest figures beside the bar."""
        if self._progress is None:
            return
        figures = self._figures.setdefault(step, {})
        figures[name] = value
        shown = "  ".join(f"{key} {figure:.4g}" for key, figure in list(figures.items())[-4:])
        self._progress.update(self._task(step), figures=shown)

    def log(self, step: str, line: str) -> None:
        """The line, above the bars."""
        if self._progress is not None:
            self._progress.console.print(
                f"[dim]{step}:[/] {_escape(escaped(line, keep=_KEPT))}", highlight=False
            )

    def begun(self, step: str, skill: str) -> None:
        """A new bar that only shows time until the step says how far it is."""
        self._tasks.pop(step, None)  # the same step of another run gets its own bar
        self._figures.pop(step, None)
        if self._progress is not None:
            self._progress.update(self._task(step), count=skill)

    def ended(self, step: str, how: str, seconds: float) -> None:
        """Fill the bar and stop its clock."""
        if self._progress is not None:
            self._progress.update(self._task(step), total=1, completed=1)
            if how != "done":
                self._progress.update(self._task(step), count=how)
            self._progress.stop_task(self._task(step))

    def _task(self, step: str) -> TaskID:
        if self._progress is None:
            raise RuntimeError("progress is shown only inside `with`")
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=None, count="", figures="")
        return self._tasks[step]


def _escape(line: str) -> str:
    from rich.markup import escape

    return escape(line)


def terminal_events(quiet: bool = False) -> PlainEvents | TerminalEvents:
    """Bars on a terminal, lines elsewhere."""
    return TerminalEvents() if sys.stderr.isatty() and not quiet else PlainEvents()
