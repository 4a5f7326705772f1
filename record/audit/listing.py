"""Listing: records by run, actor, skill, phase and time; one record; the whole record as a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Literal

from ...core.errors import AskError, did_you_mean
from ...core.files import canonical_json
from ...core.text import no_formula
from ...core.workspace import Workspace
from ..index import Criteria, LedgerIndex
from ..ledger import Ledger, Record

_COLUMNS = (
    *(
        "seq",
        "time",
        "actor",
        "roles",
        "authenticated_by",
        "phase",
        "run",
        "step",
        "skill",
        "effect",
        "plan",
        "request",
        "result",
    ),
    *("artifacts", "environment", "detail", "prev", "hash"),
)


def list_records(workspace: Workspace, **filters: str | None) -> Iterator[Record]:
    """The records that meet every filter given (those of `Criteria.of`: run, step, actor, ...), oldest first.

    `since` and `until` are ISO 8601 dates or times, UTC unless they name a zone; `until` is not included.
    Raises AskError for an unknown phase or a time that does not parse.
    """
    criteria = Criteria.of(**filters)
    if criteria.are_empty:
        return Ledger.of(workspace).records()
    return LedgerIndex.of(workspace).scan(criteria)


def get_record(workspace: Workspace, seq: int) -> Record:
    """The record of that number; AskError when there is none."""
    record = Ledger.of(workspace).get(seq)
    if record is None:
        raise AskError(f"there is no record {seq}; the ledger has {Ledger.of(workspace).head()[0]} records.")
    return record


def export(
    workspace: Workspace,
    to: Path | IO[str],
    format: Literal["jsonl", "csv"] = "jsonl",
    **filters: str | None,
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
    if to.resolve().is_relative_to(Ledger.of(workspace).folder.resolve()):
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
    if isinstance(value, dict | list):
        return canonical_json(value).decode()
    return no_formula("" if value is None else str(value))
