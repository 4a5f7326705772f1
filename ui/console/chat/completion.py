"""Completion: what could stand where a typed line ends, and what is wrong with the line as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....agents.planner.values import path_values
from ....core.errors import AskError, OpswrightError
from ..console import Console
from ..uploads import KEPT
from .commands import COMPILED, PLANS, Command, Commands
from .run_service import RunService

_MOST = 40
_RUNS = 200  # the newest, that a value may be


@dataclass(frozen=True)
class Option:
    """One continuation: the whole line with it, how it is listed, and what it means."""

    line: str
    label: str
    message: str


class CommandCompletion:
    """Completes the lines of one console's chat."""

    def __init__(self, console: Console, run_service: RunService, commands: Commands) -> None:
        self._console = console
        self._run_service = run_service
        self._commands = commands

    def assist(self, line: str) -> dict[str, Any]:
        """The options, and the fault of a line that has none."""
        if not line.startswith("/"):
            return {"options": [], "fault": ""}
        options = self.options(line)
        fault = ""
        if not options or any(option.line.rstrip() == line.rstrip() for option in options):
            fault = self._fault(line)
        return {"options": [asdict(option) for option in options], "fault": fault}

    def options(self, line: str) -> list[Option]:
        """Names of commands, then of arguments, then values."""
        head, space, last = line.rpartition(" ")
        if not space:
            return [
                Option(f"/{name} ", f"/{name}", message)
                for name, message in self._commands.names().items()
                if name.startswith(last.removeprefix("/"))
            ]
        if self._leads_out(last.rpartition("=")[2]):
            return []
        name = head.split()[0].removeprefix("/")
        if (command := self._commands.builtin.get(name)) is not None:
            words = self._words(command, last) if len(head.split()) == 1 else []
            return [Option(f"{head} {word}", word, message) for word, message in words][:_MOST]
        found = self._commands.planner.complete(line)
        fields = self._console.registry.get(name).request.model_fields if found else {}
        return [_option(head, word, fields) for word in found][:_MOST]

    def _leads_out(self, start: str) -> bool:
        """Whether what was typed is a path that leads out of the project, whose folders are not listed."""
        folder = start.rpartition("/")[0]
        try:
            self._console.check_within_project(Path(f"{folder}/" if "/" in start else "."))
        except AskError:
            return True
        return False

    def _words(self, command: Command, start: str) -> list[tuple[str, str]]:
        """What a command of the chat may be followed by."""
        if command.values == "commands":
            return [
                (n, message)
                for n, message in self._commands.names().items()
                if n.startswith(start.lstrip("/"))
            ]
        if command.values == "words":
            return [(word, "") for word in command.words if word.startswith(start)]
        if command.values in ("plans", "compiled"):
            return self._files(start, PLANS if command.values == "plans" else COMPILED)
        if command.values in ("runs", "waiting", "running"):
            wanted = None if command.values == "runs" else command.values
            return [
                (row.run, f"{row.state}: {row.goal[:60]}")
                for row in self._run_service.rows(limit=_RUNS)
                if row.run.startswith(start) and (wanted is None or row.state == wanted)
            ]
        return []

    def _files(self, start: str, endings: tuple[str, ...]) -> list[tuple[str, str]]:
        """Files below the folder the console runs in, and uploaded ones by their names."""
        files = [(path, "") for path in path_values(start, endings=endings)]
        uploads = self._console.workspace.root / KEPT
        if "/" not in start and uploads.is_dir():
            files += [
                (path.name, "uploaded")
                for path in sorted(uploads.iterdir())
                if path.suffix in endings and path.name.startswith(start)
            ]
        return files

    def _fault(self, line: str) -> str:
        try:
            self._commands.check(line)
        except OpswrightError as error:
            return str(error)
        return ""


def _option(head: str, word: str, fields: Any) -> Option:
    name, _, value = word.partition("=")
    if value:
        return Option(f"{head} {word}", value, "")
    return Option(f"{head} {word}", word, fields[name].description or "")
