"""Conversations, kept in the workspace: a file each, an entry a line, only ever added to."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ....agents.planner import Turn
from ....core.errors import AskError
from ....core.files import write_atomically
from ....core.text import one_line, says_something, unseen_in
from ....core.workspace import Workspace

Entry = dict[str, Any]  # id, at, kind (said, answer, run) and what that kind holds

_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_TITLE = 64
_LISTED = 50
_LONGEST_TITLE = 120
_SEARCHED = 2000  # newest conversations that a search looks through
_AROUND = 40  # characters on each side of what was found


@dataclass(frozen=True)
class Conversation:
    """One conversation in the list."""

    id: str
    title: str
    by: str
    at: str
    found: str = ""  # of a search: the words around what was found, empty where it is the title


class Conversations:
    """Every conversation of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.root / "conversations"

    def new(self) -> str:
        """A name for a conversation; its file comes with its first entry."""
        return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

    def newest(self) -> list[Conversation]:
        """The newest conversations, by their last message."""
        return [made for file in self._files()[:_LISTED] if (made := self._listed(file)) is not None]

    def search(self, words: str) -> list[Conversation]:
        """The newest conversations that hold all the words, in their title or in what was said in them."""
        wanted = words.casefold().split()
        found: list[Conversation] = []
        for file in self._files()[:_SEARCHED]:
            made = self._listed(file) if len(found) < _LISTED else None
            if made is None:
                continue
            if _holds(made.title, wanted):
                found.append(made)
            elif (text := _said_with(file, wanted)) is not None:
                found.append(replace(made, found=_around(text, wanted[0])))
        return found

    def rename(self, name: str, title: str) -> None:
        """Give a conversation another title; AskError for one that shows nothing or is too long."""
        plain = one_line(title)
        if not says_something(plain) or unseen_in(plain) or len(plain) > _LONGEST_TITLE:
            raise AskError(f"a conversation's name is up to {_LONGEST_TITLE} characters that can be seen.")
        if not self._path(name).exists():
            raise AskError("this conversation has no message yet; say something first.")
        write_atomically(self._path(name).with_suffix(".title"), plain.encode())

    def delete(self, name: str) -> None:
        """Remove a conversation for everybody; the ledger keeps every run that was proposed in it."""
        path = self._path(name)
        with self._workspace.lock("conversations"):
            path.with_suffix(".title").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def is_there(self, name: str) -> bool:
        """Whether anything was said in a conversation that was not deleted."""
        return self._path(name).exists()

    def _files(self) -> list[Path]:
        """The conversations' files, the one that was last added to first; some may go meanwhile."""
        times: list[tuple[float, Path]] = []
        for file in self._folder.glob("*.jsonl"):
            with suppress(FileNotFoundError):
                times.append((file.stat().st_mtime, file))
        return [file for _, file in sorted(times, reverse=True)]

    def _listed(self, file: Path) -> Conversation | None:
        """A conversation for the list, under the name it was given; None when it is empty or has gone."""
        made = title = None
        with suppress(FileNotFoundError):
            made = _first(file)
            title = file.with_suffix(".title").read_text(encoding="utf-8", errors="replace")
        return made if made is None or title is None else replace(made, title=title[:_LONGEST_TITLE])

    def append(self, name: str, kind: str, **facts: Any) -> Entry:
        """Add an entry; it is on the disk when this returns."""
        path = self._path(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._workspace.lock("conversations"):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    size += os.write(file, b"\n")  # a crash cut the last line; it is passed over
                entry = {"id": f"e{size}", "at": datetime.now(UTC).isoformat(timespec="seconds")}
                entry |= {"kind": kind, **facts}
                os.write(file, json.dumps(entry, ensure_ascii=False).encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
        return entry

    def read(self, name: str, after: int = 0) -> tuple[list[Entry], int]:
        """The entries beyond a place in the file (0: its start), and the place to read on from next time."""
        entries: list[Entry] = []
        try:
            with self._path(name).open("rb") as file:
                file.seek(after)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    after += len(line)
                    if (entry := _entry(line)) is not None:
                        entries.append(entry)
        except FileNotFoundError:
            return [], 0
        return entries, after

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise AskError(f"unknown conversation '{name[:40]}'. Choose one from the list.")
        return self._folder / f"{name}.jsonl"


def _entry(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"id", "at", "kind"} <= entry.keys() else None


def _said_with(file: Path, wanted: Sequence[str]) -> str | None:
    """The first thing said or answered in a conversation that holds all the words."""
    with suppress(FileNotFoundError), file.open("rb") as lines:
        for line in lines:
            entry = _entry(line)
            if entry is not None and _holds(text := turn_of(entry).text, wanted):
                return text
    return None


def _holds(text: str, wanted: Sequence[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in wanted)


def _around(text: str, word: str) -> str:
    """The words around the first place of one."""
    line = " ".join(text.split())
    at = max(0, line.casefold().find(word))
    begin, end = max(0, at - _AROUND), at + len(word) + _AROUND
    return f"{'…' if begin else ''}{line[begin:end]}{'…' if end < len(line) else ''}"


def _first(file: Path) -> Conversation | None:
    with file.open("rb") as lines:
        for line in lines:
            entry = _entry(line)
            if entry is not None and entry["kind"] == "said":
                text = " ".join(str(entry["text"]).split())
                title = text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"
                return Conversation(file.stem, title, str(entry["by"]), str(entry["at"]))
    return None


def turn_of(entry: Entry) -> Turn:
    """An entry as planners are given it: who spoke, what was said or proposed, and the run of it."""
    if entry["kind"] == "said":
        return Turn("user", str(entry.get("text", "")), by=str(entry.get("by", "")))
    shown = [block for block in entry.get("blocks", ()) if isinstance(block, dict)]
    text = " ".join(str(block["text"]) for block in shown if isinstance(block.get("text"), str))
    draft, run = entry.get("draft"), entry.get("run")
    return Turn(
        "agent",
        text,
        draft if isinstance(draft, dict) else None,
        run if isinstance(run, str) else None,
    )
