"""The command `init`: from a file of data to a project that can be shipped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import AskError
from .project import SEED
from .run_commands import Json

if TYPE_CHECKING:
    from ..data.profile import SourceProfile
    from ..data.read import Source
    from ..data.sample import Task
    from .project.write import Project

_EXAMPLE = "opswright run plans/ship.yaml"
_QUESTION = "Write a project of this? yes, no, or a correction, as task=generate target=reply unused=notes"
_WHICH_COLUMNS = "What are they? As user=COLUMN target=COLUMN; or no"


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
    seed: Seed = SEED,
    yes: AskNothing = False,
    json: Json = False,
) -> None:
    """Look at data and write a project for it here: golden set, suite, rails, plans. Writes over nothing.

    Shows what the data hold and what each column was taken for. Rows are held out, by group, to judge models
    by; the gate's bar comes from baselines and from what so many rows can show.

    Example: opswright init tickets.csv
    """
    from .project.sources import by_name, known_task, project_name
    from .project.write import make_project
    from .show import console, print_json

    wish = _Wish(known_task(task), tuple(columns or ()))
    files = by_name(data)
    train, held_out = wish.sources(*files)
    out = console(stderr=json)
    if not (yes or json) and sys.stdin.isatty():
        train, held_out = _agreed(out, files, wish, seed)
    called = project_name(train.path) if name is None else name
    made = make_project(train, held_out, Path.cwd(), called, seed, _tell)
    if json:
        print_json(asdict(made))
        return
    show_profile(out, made.profile, made.leaks)
    show_project(out, made)


@dataclass(frozen=True)
class _Wish:
    """What a person says of the data: its task, and words of its columns such as `user=utterance`."""

    task: Task | None
    columns: tuple[str, ...]

    def corrected(self, words: Sequence[str]) -> _Wish:
        """With more words, `task=NAME` among them; a part that is named again is mapped anew."""
        from .project.sources import SEVERAL, known_task

        task, columns = self.task, dict.fromkeys(self.columns)
        for word in words:
            part, _, value = word.partition("=")
            if part == "task":
                task = known_task(value)
            else:
                kept = [one for one in columns if part in SEVERAL or one.partition("=")[0] != part]
                columns = dict.fromkeys([*kept, word])
        return _Wish(task, tuple(columns))

    def sources(self, train: Sequence[Path], held_out: Sequence[Path]) -> tuple[Source, Source | None]:
        """The sources of files, read as is wished."""
        from .project.sources import columns_of_words, sources

        return sources(train, held_out, columns_of_words(self.columns), self.task)


def _agreed(
    out: Any, files: tuple[list[Path], list[Path]], wish: _Wish, seed: int
) -> tuple[Source, Source | None]:
    """Show what was found and take corrections until a person agrees; AskError when they say no."""
    from .show import plain

    found = _first_look(out, files, wish, seed)
    while True:
        asked, usual = (_QUESTION, "yes") if found else (_WHICH_COLUMNS, None)
        said = typer.prompt(asked, default=usual, err=True).strip()
        if found is not None and said.lower() in ("y", "yes"):
            return found
        if said.lower() in ("n", "no"):
            raise AskError("nothing was written. Say --task and --column, and try again.")
        try:
            corrected = wish.corrected(shlex.split(said))
            found = _looked_at(out, files, corrected, seed)
            wish = corrected
        except (AskError, ValueError) as error:
            out.print(plain(error, "red"))


def _first_look(
    out: Any, files: tuple[list[Path], list[Path]], wish: _Wish, seed: int
) -> tuple[Source, Source | None] | None:
    """The sources, once their profile was shown; None where nobody can tell the columns: then those are."""
    from ..data.peek import first_values
    from .show import plain, table

    try:
        return _looked_at(out, files, wish, seed)
    except AskError as error:
        columns = first_values(wish.sources(*files)[0])
        out.print(plain(error, "red"))
        out.print(table(("column", "first value"), list(columns.items())))
        return None


def _looked_at(
    out: Any, files: tuple[list[Path], list[Path]], wish: _Wish, seed: int
) -> tuple[Source, Source | None]:
    """The sources, once their profile was shown."""
    from ..data.profile import profile
    from .project.leaks import count_leaks
    from .project.write import held_out_samples

    train, held_out = wish.sources(*files)
    leaks = None if held_out is None else count_leaks(train, held_out_samples(held_out, seed))
    show_profile(out, profile(train), leaks)
    return train, held_out


def _tell(text: str) -> None:
    print(f"init: {text}", file=sys.stderr)


def show_profile(out: Any, found: SourceProfile, leaks: Mapping[str, int] | None) -> None:
    """What a source holds, before anything is made of it."""
    from .project.summary import column_rows, heading, profile_rows
    from .show import plain, table

    out.print(plain(heading(found), keep=""))
    if columns := column_rows(found):
        out.print(table(("column", "taken for"), columns))
    out.print(table(("what", "found"), profile_rows(found, leaks)))


def show_project(out: Any, made: Project) -> None:
    """What was written, and what the golden set can show."""
    from .project.summary import baseline_rows, project_lines
    from .show import plain, table

    out.print(table(("baseline", made.metric), baseline_rows(made)))
    for line in project_lines(made):
        out.print(plain(line))
    out.print("written: " + ", ".join(made.files))
    out.print(f"next: {_EXAMPLE}")
