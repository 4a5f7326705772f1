"""The command `init`: from a file of data to a project that can be shipped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ..core.errors import AskError, did_you_mean
from .run_commands import Json

if TYPE_CHECKING:
    from ..data.columns import Columns
    from ..data.profile import SourceProfile
    from ..data.sample import Task
    from .project.write import Project

_SHOWN = 12
_BASES = (
    ("1 M", 1.1e6, 4),
    ("1 B", 1e9, 2),
    ("8 B", 8e9, 2),
)  # name, parameters, bytes a weight is trained in
_EXAMPLE = "opswright run plans/ship.yaml"


Data = Annotated[list[Path], typer.Argument(help="A file or folder of rows; maybe one held-out file.")]
TaskName = Annotated[
    str | None, typer.Option(help="classify, generate, chat, extract, choose, answer. [default: as found]")
]
ColumnWords = Annotated[
    list[str] | None,
    typer.Option("--column", help="PART=COLUMN, as user=utterance or tags=region; repeat it for more."),
]
Name = Annotated[str | None, typer.Option(help="Name of suite and endpoint. [default: the file's]")]
Seed = Annotated[int, typer.Option(help="Which rows are held out.")]
AskNothing = Annotated[bool, typer.Option("--yes", help="Ask nothing: take what was found.")]


def init(
    data: Data,
    task: TaskName = None,
    columns: ColumnWords = None,
    name: Name = None,
    seed: Seed = 1111,
    yes: AskNothing = False,
    json: Json = False,
) -> None:
    """Look at data and write a project for it here: golden set, suite, rails, plans. Writes over nothing.

    Shows what the data hold and what each column was taken for. Rows are held out, by group, to judge models
    by; the gate's bar comes from baselines and from what so many rows can show.

    Example: opswright init tickets.csv
    """
    from .project.write import make_project, project_name, sources
    from .show import console, print_json

    chosen = _task(task)
    train, held_out = sources(data, _columns(columns or []), chosen)
    out = console(stderr=json)
    if not (yes or json) and sys.stdin.isatty():
        from ..data.profile import profile

        show_profile(out, profile(train))
        if not typer.confirm("Write a project for this task and these columns?", default=True, err=True):
            raise AskError("nothing was written. Say --task and --column, and try again.")
    called = project_name(train.path) if name is None else name
    made = make_project(train, held_out, Path.cwd(), called, seed, _tell)
    if json:
        print_json(asdict(made))
        return
    show_profile(out, made.profile)
    show_project(out, made)


def _tell(text: str) -> None:
    print(f"init: {text}", file=sys.stderr)


def _task(text: str | None) -> Task | None:
    from ..data.sample import Task

    known = get_args(Task)
    if text is not None and text not in known:
        raise AskError(f"unknown task '{text}' (there are: {', '.join(known)}).{did_you_mean(text, known)}")
    return text  # type: ignore[return-value]


def _columns(given: list[str]) -> Columns | None:
    """The mapping of `part=column` words; `tags` and `choices` may come several times."""
    from pydantic import ValidationError

    from ..data.columns import Columns

    parts: dict[str, Any] = {}
    for word in given:
        part, equals, column = word.partition("=")
        if not equals or not column:
            raise AskError(f"--column {word}: expected PART=COLUMN, as --column user=utterance.")
        if part == "tags":
            parts.setdefault("tags", {})[column] = column
        elif part == "choices" and part in parts:
            parts[part] = (*([parts[part]] if isinstance(parts[part], str) else parts[part]), column)
        else:
            parts[part] = column
    try:
        return Columns.model_validate(parts) if parts else None
    except ValidationError as error:
        wrong, known = error.errors()[0]["loc"][0], ", ".join(Columns.model_fields)
        raise AskError(f"--column: {wrong} is no part of a row (there are: {known}).") from error


def show_profile(out: Any, found: SourceProfile) -> None:
    """What a source holds, before anything is made of it."""
    from .show import table

    out.print(f"{found.source}: {found.rows:,} rows, task {found.task}")
    taken = [(column, part) for column, part in found.columns.items()]
    missed = [(column, f"not used ({n:,} rows hold something there)") for column, n in found.unused.items()]
    if taken or missed:
        out.print(table(("column", "taken for"), [*taken, *missed]))
    rows = [
        ("question, characters", _lengths(found.asked)),
        ("answer, characters", _lengths(found.answered)),
        ("different questions", f"{found.questions:,}"),
        ("the same question and answer again", f"{found.same:,}"),
    ]
    if found.unanswered:
        rows.append(("without an answer", f"{found.unanswered:,}"))
    if found.dropped:
        rows.append(("left out", _counts(found.dropped)))
    if found.labels:
        most, least = found.labels[0], found.labels[-1]
        said = f"most '{most[0]}' ({most[1]:,}), least '{least[0]}' ({least[1]:,})"
        rows.append(("labels", f"{len(found.labels):,}; {said}"))
    if found.grouped:
        rows.append(("in groups", f"{found.grouped:,} rows; groups are kept together"))
    rows.append(("scripts", ", ".join(f"{name} {share:.0%}" for name, share in found.scripts.items())))
    rows.append(("personal data, by pattern", _counts(found.personal) if found.personal else "none found"))
    rows += _needs(found)
    out.print(table(("what", "found"), rows))


def _lengths(found: Any) -> str:
    return f"half up to {found.p50:,}, 95 % up to {found.p95:,}, longest {found.longest:,}"


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {n:,}" for name, n in list(counts.items())[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")


def _needs(found: SourceProfile) -> list[tuple[str, str]]:
    """About the memory each size of base takes to train every weight: weights, gradients, two moments."""
    rows = []
    for name, parameters, size in _BASES:
        whole, adapters = parameters * (size + 4 + 8) / 1e9, parameters * 2 / 1e9
        said = f"about {whole:,.2g} GB to train every weight, {adapters:,.2g} GB and a little for adapters"
        rows.append((f"a base of {name} parameters", said))
    return rows


def show_project(out: Any, made: Project) -> None:
    """What was written, and what the golden set can show."""
    from .show import table

    out.print(f"held out: {made.golden:,} samples (SHA-256 {made.digest[:16]}), judged by {made.metric}")
    if made.leaked:
        rows = f"{made.leaked:,} rows of the training file"
        out.print(f"{rows} are held out too, or of a group that is; curate leaves them out")
    scores = [(name, f"{value:.1%}") for name, value in made.baselines.items()]
    skipped = [(name, f"not run: {why}") for name, why in made.skipped.items()]
    out.print(table(("baseline", made.metric), [*scores, *skipped]))
    out.print(f"bar: {made.bar_says}")
    if made.visible_drop is not None:
        points = f"{100 * made.visible_drop:.3g} points"
        out.print(f"against a model that is served, this set can see a drop of {points}")
    for why in made.rails_left_out:
        out.print(f"rails leave out: {why}")
    out.print("written: " + ", ".join(made.files))
    out.print(f"next: {_EXAMPLE}")
