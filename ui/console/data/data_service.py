"""What the page "Data" asks of the server, apart from Gradio. It keeps nothing: the page sends all it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ....core.errors import AskError
from ....data.columns import Columns, recognise
from ....data.peek import first_values
from ....data.profile import SourceProfile, profile
from ....data.read import Source
from ....data.sample import Task
from ...project import SEED
from ...project.leaks import count_leaks
from ...project.place import new_folder
from ...project.sources import columns_of_pairs, is_held_out, known_task, project_name, sources
from ...project.summary import baseline_rows, heading, leak_words, profile_rows, project_lines
from ...project.write import Project, check_profile, held_out_samples, make_project
from .. import uploads
from ..auth.users import Person
from ..chat import blocks
from ..chat.chat_service import ChatService
from ..console import Console
from ..markup import render
from .plots import histogram, label_bars

TAG, UNUSED = "tags", "unused"
_MOST_COLUMNS = 200  # that a page shows
_UNKNOWN = "The columns have none of the usual names. Say what each holds, at least two of them."
_PARTS = {
    "user": "what is asked",
    "target": "the right answer",
    "system": "system prompt",
    "input": "what is asked about (input)",
    "contexts": "passages",
    "choices": "choices",
    "messages": "a whole conversation",
    "tools": "tool schemas",
    "rejected": "a worse answer",
    "id": "id of the row",
    "group": "group, kept together",
    TAG: "a tag, for slices",
    UNUSED: "not used",
}


@dataclass(frozen=True)
class Wish:
    """Uploaded files by name, and how they shall be read.

    columns: (column, part) of every column, the part as `Columns` names it; None: as is recognised.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    task: Task | None
    columns: tuple[tuple[str, str], ...] | None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Wish:
        """The wish of a page's JSON; TypeError or KeyError where it is none, AskError for an unknown task."""
        columns = asked.get("columns")
        return cls(
            _texts(asked["train"]),
            _texts(asked["held_out"]),
            known_task(asked.get("task") or None),
            None if columns is None else tuple((str(column), str(part)) for column, part in columns),
        )

    @property
    def mapping(self) -> Columns | None:
        """The columns as they are mapped."""
        return None if self.columns is None else columns_of_pairs((part, name) for name, part in self.columns)


class DataService:
    """One console's page on data."""

    def __init__(self, console: Console, chat: ChatService) -> None:
        self._console, self._chat = console, chat

    def keep(self, person: Person, received: Path, name: str, folder: Path) -> dict[str, Any]:
        """Take an uploaded file into the workspace; the name it has there, and whether it looks held out.

        HeldError for who may change nothing.
        """
        self._console.check_may_change(person, "upload a file")
        limit = int(self._console.settings.console.max_upload_mb * 1e6)
        kept = uploads.keep(self._console.workspace, received, name, folder, limit)
        return {"file": kept.name, "size": f"{kept.stat().st_size:,} bytes", "held_out": is_held_out(kept)}

    def look(self, person: Person, wish: Wish) -> dict[str, Any]:
        """The profile as HTML and a name for the project; AskError for what cannot be read."""
        train, held_out = self._sources(wish)
        columns = first_values(train)
        found, leaks, fault, is_ready = None, None, "", False
        try:
            found = profile(train)
            leaks = None if held_out is None else count_leaks(train, held_out_samples(held_out, SEED))
            check_profile(found)
            is_ready = True
        except AskError as error:
            if not columns:
                raise
            is_unknown = wish.columns is None and recognise(columns) is None
            fault = _UNKNOWN if is_unknown else str(error)
        may_write = is_ready and self._console.may_change(person)
        html = _profile_html(found, leaks, columns, wish, fault, is_ready=is_ready, may_write=may_write)
        return {"html": html, "name": project_name(Path(wish.train[0]))}

    def write(self, person: Person, wish: Wish, name: str) -> dict[str, Any]:
        """Write the project into a new folder of its name and propose its plan in a new conversation.

        HeldError for who may change nothing; AskError when something of that name is there. All or nothing.
        """
        self._console.check_may_change(person, "write a project")
        train, held_out = self._sources(wish)
        with new_folder(Path.cwd(), name) as folder:
            made = make_project(train, held_out, folder, name, SEED, lambda step: None)
        said = f"made the project {name} of {', '.join((*wish.train, *wish.held_out))}"
        command = f"/plan {name}/plans/ship.yaml"
        return {"conversation": self._chat.introduce(person, said, _project_blocks(made), command)}

    def _sources(self, wish: Wish) -> tuple[Source, Source | None]:
        """The sources of uploaded files; those to learn from are read as one."""
        if not wish.train:
            raise AskError("name a file to learn from: all of them are held out.")
        workspace = self._console.workspace
        train = uploads.as_one(workspace, wish.train)
        held_out = [uploads.find(workspace, one) for one in wish.held_out]
        return sources([train], held_out, wish.mapping, wish.task)


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise TypeError("names of files are texts")
    return tuple(values)


def _profile_html(
    found: SourceProfile | None,
    leaks: Mapping[str, int] | None,
    columns: Mapping[str, str],
    wish: Wish,
    fault: str,
    *,
    is_ready: bool,
    may_write: bool,
) -> str:
    """The page's part below the files. found: None where nobody can tell what the columns are."""
    return render(
        "data_profile.html",
        found=found,
        heading="" if found is None else heading(found),
        rows=[] if found is None else profile_rows(found, leaks),
        leaks=None if leaks is None else leak_words(leaks),
        columns=_column_choices(columns, found, wish),
        parts=_PARTS,
        tasks=get_args(Task),
        task=(wish.task or "") if found is None else found.task,
        plots=[] if found is None else _plots(found),
        labels=None if found is None or not found.labels else label_bars(found.labels),
        fault=fault,
        is_corrected=wish.columns is not None,
        is_ready=is_ready,
        may_write=may_write,
    )


def _column_choices(
    columns: Mapping[str, str], found: SourceProfile | None, wish: Wish
) -> list[dict[str, str | int]]:
    """The columns with their first values and the parts they are taken for; those that are taken first."""
    taken = dict(wish.columns or ()) if found is None else dict(found.columns)
    unused = {} if found is None else found.unused
    rows: list[dict[str, str | int]] = []
    for name in list(dict.fromkeys([*taken, *columns, *unused]))[:_MOST_COLUMNS]:
        part = taken.get(name, UNUSED)
        part = TAG if part.startswith("tag ") else part
        rows.append(
            {"name": name, "first": columns.get(name, ""), "part": part, "holding": unused.get(name, 0)}
        )
    return rows


def _plots(found: SourceProfile) -> list[dict[str, Any]]:
    """The distributions of lengths that there are."""
    every = {"questions": found.asked, "answers": found.answered}
    return [
        {"title": f"Length of {what}, in characters", "bars": histogram(lengths.bins)}
        for what, lengths in every.items()
        if lengths.bins
    ]


def _project_blocks(made: Project) -> list[blocks.Block]:
    """What was written, as the chat shows it."""
    return [
        *(blocks.text(line) for line in project_lines(made)),
        blocks.table(["baseline", made.metric], baseline_rows(made)),
        blocks.text("written: " + ", ".join(f"{made.name}/{file}" for file in made.files), "soft"),
    ]
