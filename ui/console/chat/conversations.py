"""Conversations, kept in the workspace: a file each, an entry a line, only ever added to."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ....agents.planner import Turn
from ....core.errors import AskError
from ....core.workspace import Workspace

Entry = dict[str, Any]  # id, at, kind (said, answer, run) and what that kind holds

_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_TITLE = 64
_LISTED = 50


@dataclass(frozen=True)
class Conversation:
    """One conversation in the list."""

    id: str
    title: str
    by: str
    at: str


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
        files = sorted(self._folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [made for file in files[:_LISTED] if (made := _first(file)) is not None]

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
        return Turn("user", str(entry.get("text", "")))
    shown = [block for block in entry.get("blocks", ()) if isinstance(block, dict)]
    text = " ".join(str(block["text"]) for block in shown if isinstance(block.get("text"), str))
    draft, run = entry.get("draft"), entry.get("run")
    return Turn(
        "agent",
        text,
        draft if isinstance(draft, dict) else None,
        run if isinstance(run, str) else None,
    )
