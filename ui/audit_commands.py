"""Commands about the record: `opswright audit`, to list, show, verify, export and sync it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..core.errors import AskError, IntegrityError
from .session import Session

if TYPE_CHECKING:
    from ..record.audit import AuditReport

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
    wanted = {"run": run, "actor": actor, "skill": skill, "phase": phase}
    found = list(list_records(session.workspace, **wanted, since=since, until=until))
    if json:
        print_json([asdict(record) for record in found])
        return
    if not found:
        print("no record matches. `opswright audit list` lists all.", file=sys.stderr)
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
    signature: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A signed head; may be repeated. Needs --key.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The public key that signatures are checked with.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave MLflow out.")] = False,
    json: Json = False,
) -> None:
    """Check the record and everything it names; exit 7 at a fault.

    The checks are listed with what each looks at; a fault names its record, what was found and what to do.

    Example: opswright audit verify --key release.pub --signature head.json
    """
    from .audit_check import audit_workspace
    from .show import print_json

    session: Session = context.obj
    if (signature is None) != (key is None):
        raise AskError(
            "--signature and --key go together: a signed head, and the public key it must hold for."
        )
    report = audit_workspace(
        session.workspace,
        session.registry,
        mlflow=False if offline else None,
        anchors=tuple(anchor or ()),
        signatures=tuple(signature or ()),
        key=key,
    )
    if json:
        print_json(report.document())
    else:
        _show_report(report)
    if not report.ok:
        raise typer.Exit(IntegrityError.exit_code)


def _show_report(report: AuditReport) -> None:
    """The table of checks, then notes and faults."""
    from .show import console, table

    wrong = {fault.check for fault in report.faults}
    rows = [
        [
            one.name,
            one.what,
            "FAULT" if one.name in wrong else one.not_done if one.not_done else "ok",
            "" if one.not_done else f"{one.count:,}",
        ]
        for one in report.checked
    ]
    console().print(table(["check", "looks at", "result", "count"], rows))
    for note in report.notes:
        print(f"note, record {note.seq}: {note.message}" if note.seq else f"note: {note.message}")
    for fault in report.faults:
        where = f"FAULT, record {fault.seq}" if fault.seq else "FAULT"
        print(f"{where} ({fault.check}): {fault.message}\n    What to do: {fault.remedy}")
    state = "intact" if report.ok else f"NOT intact, {len(report.faults)} faults"
    print(f"{report.records:,} records: {state}, head {report.head_seq}:{report.head_hash[:12]}")


@audit_app.command("anchor")
def anchor_command(context: typer.Context) -> None:
    """Print the head of the ledger, to keep where nobody who can write the workspace can change it.

    Example: git notes add -m "$(opswright audit anchor)"
    """
    from ..record.audit import anchor

    session: Session = context.obj
    print(anchor(session.workspace))


@audit_app.command("keygen")
def keygen_command(
    file: Annotated[
        Path, typer.Argument(help="Where the private key goes; the public one goes to FILE.pub.")
    ],
) -> None:
    """Make an Ed25519 key pair to sign the ledger's head with; an existing file is never overwritten.

    Keep the private key where nobody who can write the workspace can read it.

    Example: opswright audit keygen release-key
    """
    from ..record.audit import make_keys

    public = make_keys(file)
    print(f"private key: {file} (keep it away from the workspace)\npublic key: {public}")


@audit_app.command("sign")
def sign_command(
    context: typer.Context,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; without it, stdout.")] = None,
) -> None:
    """Sign the head of the ledger: workspace, number, hash and time, as JSON.

    Example: opswright audit sign --key release-key -o head.json
    """
    from ..core.files import write_atomically
    from ..record.audit import sign_head

    session: Session = context.obj
    signed = sign_head(session.workspace, key)
    if output is None:
        print(signed.decode(), end="")
    else:
        write_atomically(output, signed)
        print(f"signed head written to {output}", file=sys.stderr)


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
