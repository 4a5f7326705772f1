"""The command `ask`: a question about the workspace and the docs, answered with passages and records."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .session import Session

if TYPE_CHECKING:
    from ..agents.memory import CitedAnswer

_SHOWN_CHARS = 640


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="A question, in plain words.")],
    type: Annotated[
        list[str] | None,
        typer.Option(help="Only passages of this type; may be repeated: record, run, verdict, docs, ..."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only passages of this run.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only passages about this endpoint.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what was recorded at this time or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what was recorded before this time.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer a question about this workspace and the docs: plain facts, then passages with their records.

    The first question indexes what is recorded; later ones add what is new. Nothing else is changed.

    Example: opswright ask "why was v2 refused?"
    """
    from ..agents.memory import MemoryIndex, QuestionFilters, answer
    from ..agents.memory.facts import fact_finder
    from ..agents.memory.writer import AnswerWriter
    from .show import print_json

    session: Session = context.obj
    settings = session.workspace.settings.memory
    filters = QuestionFilters(tuple(type or ()), run, endpoint, since, until)

    def tell(message: str) -> None:
        print(message, file=sys.stderr)

    with MemoryIndex(session.workspace, tell) as index:
        found = answer(
            question,
            filters,
            index,
            k=k,
            facts=fact_finder(session.workspace, session.registry),
            writer=AnswerWriter(settings.writer) if settings.writer is not None else None,
        )
    if json:
        print_json(found.document())
    else:
        _show(found)


def _show(found: CitedAnswer) -> None:
    from .show import console, plain
    from .times import with_ago

    out = console()
    notes = list(found.notes)
    if found.nothing and notes:
        out.print(plain(notes.pop(0), "bold", keep=""))
    for fact in found.facts:
        records = ", ".join(f"record {seq}" for seq in fact.records if f"[record {seq}]" not in fact.text)
        out.print(plain(f"{with_ago(fact.text)}{f' [{records}]' if records else ''}", "bold", keep=""))
    if found.written_by:
        out.print(plain(found.text, keep=""))
        out.print(plain(f"(written by {found.written_by} from the passages below)", "dim", keep=""))
    for one in found.passages:
        passage = one.passage
        where = f"record {passage.seq}" if passage.seq else "docs"
        out.print(plain(f"\n[{one.number}] {passage.title}  ({passage.kind}, {where})", "bold"))
        text = passage.text
        out.print(plain(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"))
        out.print(plain(passage.source, "dim", keep=""))
    for note in notes:
        print(note, file=sys.stderr)
