"""Commands about the record: `opswright audit`, to list, show, verify, export and sync it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..core.errors import IntegrityError
from .session import Session

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Run = Annotated[str | None, typer.Option(help="Only this run.")]
Actor = Annotated[str | None, typer.Option(help="Only this person.")]
SkillName = Annotated[str | None, typer.Option(help="Only this skill.")]
PhaseName = Annotated[str | None, typer.Option(help="Only this phase: proposed, approved, intent, done, ...")]
Since = Annotated[
    str | None, typer.Option(help="From this time on (ISO 8601, UTC unless it says otherwise).")
]
Until = Annotated[str | None, typer.Option(help="Up to this time.")]

audit_app = typer.Typer(
    help="The record of every action: look at it, check it, take it away.", no_args_is_help=True
)


@audit_app.command("list")
def list_command(
    context: typer.Context,
    run: Run = None,
    actor: Actor = None,
    skill: SkillName = None,
    phase: PhaseName = None,
    since: Since = None,
    until: Until = None,
    json: Json = False,
) -> None:
    """List records, oldest first.

    Example: opswright audit list --skill deploy --since 2026-11-20
    """
    from ..record.audit import list_records
    from .show import console, print_json, table

    session: Session = context.obj
    found = list_records(
        session.workspace, run=run, actor=actor, skill=skill, phase=phase, since=since, until=until
    )
    if json:
        print_json([asdict(record) for record in found])
        return
    rows = [
        [
            r.seq,
            r.time[:19].replace("T", " "),
            r.actor,
            r.phase,
            r.step or "",
            r.skill or "",
            r.run or "",
            r.hash[:12],
        ]
        for r in found
    ]
    console().print(table(["record", "time (UTC)", "who", "phase", "step", "skill", "run", "hash"], rows))


@audit_app.command("show")
def show_command(
    context: typer.Context, number: Annotated[int, typer.Argument(min=1, help="The record's number.")]
) -> None:
    """Show one record, whole, as JSON.

    Example: opswright audit show 12
    """
    from ..record.audit import get_record
    from .show import print_json

    session: Session = context.obj
    print_json(asdict(get_record(session.workspace, number)))


@audit_app.command("verify")
def verify_command(
    context: typer.Context,
    anchor: Annotated[
        list[str] | None, typer.Option(metavar="NUMBER:HASH", help="A head kept elsewhere; may be repeated.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave MLflow out.")] = False,
    json: Json = False,
) -> None:
    """Check the record: chain, artifacts, plans, approvals, receipts, MLflow both ways; exit 7 at a fault.

    Example: opswright audit verify
    """
    from ..record.audit import verify
    from .show import print_json

    session: Session = context.obj
    report = verify(session.workspace, mlflow=False if offline else None, anchors=tuple(anchor or ()))
    if json:
        print_json(report.document())
    else:
        for checked in report.checked:
            state = f"not checked: {checked.not_done}" if checked.not_done else f"{checked.count:,} checked"
            print(f"{checked.name}: {checked.what} ({state})")
        for note in report.notes:
            print(f"note, record {note.seq}: {note.message}" if note.seq else f"note: {note.message}")
        for fault in report.faults:
            print(f"FAULT, record {fault.seq}: {fault.message}" if fault.seq else f"FAULT: {fault.message}")
        state = "intact" if report.ok else "NOT intact"
        print(f"{report.records:,} records: {state}, head {report.head_hash[:12]}")
    if not report.ok:
        raise typer.Exit(IntegrityError.exit_code)


@audit_app.command("anchor")
def anchor_command(context: typer.Context) -> None:
    """Print the head of the ledger, to keep where nobody who can write the workspace can change it.

    Example: git notes add -m "$(opswright audit anchor)"
    """
    from ..record.audit import anchor

    session: Session = context.obj
    print(anchor(session.workspace))


@audit_app.command("export")
def export_command(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; without it, stdout.")] = None,
    format: Annotated[Literal["jsonl", "csv"], typer.Option(help="jsonl or csv.")] = "jsonl",
    run: Run = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Export records; all of them as JSONL are the ledger byte for byte.

    Example: opswright audit export -o record.jsonl
    """
    from ..record.audit import export

    session: Session = context.obj
    count = export(session.workspace, output or sys.stdout, format, run=run, since=since, until=until)
    print(f"{count} records" + (f" written to {output}" if output else ""), file=sys.stderr)


@audit_app.command("sync")
def sync_command(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Write every run again.")] = False,
    json: Json = False,
) -> None:
    """Bring MLflow up to date with the ledger; doing it twice changes nothing.

    Example: opswright audit sync
    """
    from ..record.mirror import sync
    from .show import print_json

    session: Session = context.obj
    report = sync(session.workspace, everything=everything)
    if json:
        print_json(asdict(report))
    else:
        print(
            f"{report.tracking_uri}: {report.records} records read, {report.runs} runs and {report.steps} "
            f"steps written; it stands at record {report.head_seq}"
        )
