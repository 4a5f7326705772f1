"""Listing: records by run, actor, skill, phase and time; one record; the whole record as a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import AskError, did_you_mean
from ..files import canonical_json
from ..ledger import Phase, Record
from ..workspace import Workspace

_COLUMNS = (
    *("seq", "time", "actor", "role", "phase", "run", "step", "skill", "effect", "plan", "request", "result"),
    *("artifacts", "environment", "detail", "prev", "hash"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def list_records(
    workspace: Workspace,
    *,
    run: str | None = None,
    step: str | None = None,
    actor: str | None = None,
    skill: str | None = None,
    phase: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Iterator[Record]:
    """The records that meet every filter given, oldest first.

    `since` and `until` are ISO 8601 dates or times, UTC unless they name a zone; `until` is not included.
    Raises AskError for an unknown phase or a time that does not parse.
    """
    if phase is not None and phase not in set(Phase):
        raise AskError(
            f"unknown phase '{phase}' (there are: {', '.join(Phase)}).{did_you_mean(phase, Phase)}"
        )
    wanted = {"run": run, "step": step, "actor": actor, "skill": skill, "phase": phase}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    first, last = _time(since, "since"), _time(until, "until")
    return _matching(workspace, wanted, first, last)


def _matching(
    workspace: Workspace, wanted: dict[str, str | None], first: datetime | None, last: datetime | None
) -> Iterator[Record]:
    for record in workspace.ledger.records():
        if any(getattr(record, name) != value for name, value in wanted.items()):
            continue
        if first is not None or last is not None:
            time = datetime.fromisoformat(record.time)
            if (first is not None and time < first) or (last is not None and time >= last):
                continue
        yield record


def get_record(workspace: Workspace, seq: int) -> Record:
    """The record of that number; AskError when there is none."""
    record = workspace.ledger.get(seq)
    if record is None:
        raise AskError(f"there is no record {seq}; the ledger has {workspace.ledger.head()[0]} records.")
    return record


def export(
    workspace: Workspace, to: Path | IO[str], format: Literal["jsonl", "csv"] = "jsonl", **filters: Any
) -> int:
    """Write the records that meet the filters of `list_records` to a file or stream; gives their number.

    Unfiltered JSONL is the ledger byte for byte; docs/guide/record.md verifies it without Opswright.
    In CSV a text that a spreadsheet would take for a formula has a ' before it.
    """
    if format not in ("jsonl", "csv"):
        near = did_you_mean(format, ("jsonl", "csv"))
        raise AskError(f"unknown format '{format}' (there are: jsonl, csv).{near}")
    records = list_records(workspace, **filters)
    write = _write_jsonl if format == "jsonl" else _write_csv
    if not isinstance(to, Path):
        return write(records, to)
    if to.resolve().is_relative_to(workspace.ledger.folder.resolve()):
        raise AskError(f"{to} is inside the ledger; export to another folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            count = write(records, file)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_jsonl(records: Iterator[Record], out: IO[str]) -> int:
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        out.write(canonical_json(asdict(record)).decode() + "\n")
    return count


def _write_csv(records: Iterator[Record], out: IO[str]) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        writer.writerow([_cell(getattr(record, name)) for name in _COLUMNS])
    return count


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return canonical_json(value).decode()
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise AskError(
            f"'{text}' is no time for {name}: give an ISO 8601 date or time, like 2026-11-20 or "
            "2026-11-20T18:00:00+00:00."
        ) from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
