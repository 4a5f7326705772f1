"""Reads sources of every layout and shape: a fault of one row drops the row, a fault of all is an error."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..core.errors import AskError, did_you_mean
from .column_guess import likely_question_and_answer
from .columns import SHAPES, Columns
from .files import RawRow, read_csv, read_json, read_jsonl, read_parquet
from .published import banking77, clinc150, snips
from .row_shapes import LABEL_COLUMN, RowShapes, no_shape, refined_task
from .rows import Dropped, Reason
from .sample import Sample, Task
from .seen import SeenTexts
from .shapes import RowFault, to_sample, unused

TEXT_COLUMN = "text"
DOMAIN = "domain"


class Layout(StrEnum):
    """How a source lies on disk."""

    AUTO = "auto"
    CLINC150 = "clinc150"
    BANKING77 = "banking77"
    SNIPS = "snips"
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Source:
    """Rows somewhere: where they lie, in which layout, which columns hold what, and for which task.

    `split`: of a published data set (by default train), or of a JSON object that holds several lists.
    `text_column` and `label_column` other than the usual ones map the text and the right answer; `columns`
    maps anything. What is not mapped is recognised by its usual name. `max_line_bytes`: a longer line is left
    out (in CSV: refused) without reading it whole.
    """

    path: Path
    layout: Layout = Layout.AUTO
    split: str | None = None
    text_column: str = TEXT_COLUMN
    label_column: str = LABEL_COLUMN
    domain_column: str | None = None
    group_column: str | None = None
    max_line_bytes: int = 1_000_000
    columns: Columns | None = None
    task: Task | None = None

    @property
    def mapping(self) -> Columns:
        """The columns that are mapped, by `columns` or one by one."""
        given = self.columns or Columns()
        asked: dict[str, object] = {}
        if self.text_column != TEXT_COLUMN:
            asked["user"] = self.text_column
        if self.label_column != LABEL_COLUMN:
            asked["target"] = self.label_column
        if self.group_column is not None:
            asked["group"] = self.group_column
        if self.domain_column is not None:
            asked["tags"] = {**given.tags, DOMAIN: self.domain_column}
        return given.model_copy(update=asked)


_ENDINGS = {
    ".jsonl": Layout.JSONL,
    ".ndjson": Layout.JSONL,
    ".json": Layout.JSON,
    ".csv": Layout.CSV,
    ".tsv": Layout.CSV,
    ".parquet": Layout.PARQUET,
}
_READERS: dict[Layout, Callable[[Path, int, str | None], Iterator[RawRow]]] = {
    Layout.JSONL: read_jsonl,
    Layout.JSON: read_json,
    Layout.CSV: read_csv,
    Layout.PARQUET: read_parquet,
}
_PUBLISHED = {Layout.CLINC150: clinc150, Layout.BANKING77: banking77, Layout.SNIPS: snips}
_LOOKED_AT = 2000  # rows, and at most so many characters of them, from which shape and task are told
_LOOKED_AT_CHARS = 8_000_000
_GUESSED_FROM = 100  # rows, where the columns are of no known shape


class Located(NamedTuple):
    """A sample, and where it stands: the name of its file, and its row there from 1."""

    file: str
    row: int
    sample: Sample


@dataclass
class Reading:
    """The samples of a source, one at a time; going through them again reads them again.

    Task and columns are known at once, from the first rows. `dropped` and `unused` are complete after a pass:
    the rows left out, in order, and the columns that are not taken with the number of rows that held
    something there. Raises AskError at the end of a pass that gave no sample.
    """

    source: Source
    layout: Layout
    task: Task
    columns: dict[str, str]  # column -> the part of a sample it is taken for
    drop: Callable[[Dropped], None] | None = None  # gets each row left out; by default `dropped` keeps them
    dropped: list[Dropped] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Sample]:
        return (one.sample for one in self.located())

    def located(self) -> Iterator[Located]:
        """Each sample with its place."""
        self.dropped, self.unused = [], Counter()
        reader = _Rows(self.source, self.layout, self.task, self.drop or self._keep, self.unused)
        yield from reader.samples()
        if not reader.taken:
            raise AskError(f"{self.source.path} gives no usable row{reader.why()}")

    def _keep(self, dropped: Dropped) -> None:
        self.dropped.append(dropped.cut())


def read_samples(source: Source, drop: Callable[[Dropped], None] | None = None) -> Reading:
    """The samples of a source; AskError when it is missing, empty, or of no shape that is known.

    drop: gets each row that is left out, so that not even they are held in memory.
    """
    layout = check_source(source)
    looked = _Look(source, layout)
    return Reading(source, layout, source.task or looked.task, looked.columns, drop)


def check_source(source: Source) -> Layout:
    """The layout that would be read, without reading; AskError when nothing is there or it cannot be told."""
    layout = find_layout(source)
    if layout not in _PUBLISHED:
        _files(source.path, layout)
    return layout


def raw_rows(source: Source, layout: Layout) -> Iterator[tuple[str, RawRow]]:
    """Every row of a source's files, as they have it, with its file's name; none of a published layout."""
    if layout in _PUBLISHED:
        return
    for path in _files(source.path, layout):
        for raw in _READERS[layout](path, source.max_line_bytes, source.split):
            yield path.name, raw


def find_layout(source: Source) -> Layout:
    """The layout to read; AskError when there is nothing there or it cannot be told."""
    path = source.path
    if not path.exists():
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise AskError(f"no file or folder at {path}.{did_you_mean(path.name, near)}")
    layout = _guess(path) if source.layout is Layout.AUTO else source.layout
    if layout in _PUBLISHED:
        names = _PUBLISHED[layout].FILES
        if not path.is_dir() or not all((path / name).is_file() for name in names):
            raise AskError(f"layout {layout} is a folder with {', '.join(names)}; {path} is not.")
    elif source.split is not None and layout is not Layout.JSON:
        raise AskError(
            f"split '{source.split}': only {', '.join(_PUBLISHED)} have splits, and a JSON object of "
            f"several lists; {path} is {layout}: name the file of the split as the source."
        )
    return layout


def _guess(source: Path) -> Layout:
    if source.is_file():
        if source.suffix.lower() in _ENDINGS:
            return _ENDINGS[source.suffix.lower()]
        raise AskError(f"cannot tell the layout of {source.name}. Give layout=jsonl, json, csv or parquet.")
    if found := _published_in(source):
        return found
    kinds = {_ENDINGS[path.suffix] for path in source.iterdir() if path.suffix in _ENDINGS}
    if len(kinds) == 1:
        return kinds.pop()
    inside = [path.name for path in sorted(source.iterdir()) if path.is_dir() and _published_in(path)]
    hint = f" Name one of its folders: {', '.join(inside)}." if inside else " Give the layout, or one file."
    raise AskError(f"cannot tell the layout of the folder {source}.{hint}")


def _published_in(folder: Path) -> Layout | None:
    for layout, published in _PUBLISHED.items():
        if all((folder / name).is_file() for name in published.FILES):
            return layout
    return None


def _files(source: Path, layout: Layout) -> list[Path]:
    """The files of a flat layout, by name; AskError for none or an empty one."""
    files = [source]
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if _ENDINGS.get(path.suffix) is layout)
    if not files:
        raise AskError(f"{source} holds no {layout} file.")
    for path in files:
        if path.stat().st_size == 0:
            raise AskError(f"{path} is empty (0 bytes). Check how it was made.")
    return files


class _Rows:
    """One pass over a source."""

    def __init__(
        self,
        source: Source,
        layout: Layout,
        task: Task | None,
        drop: Callable[[Dropped], None],
        unused: Counter[str],
    ) -> None:
        self.source, self.layout, self.task, self.drop, self.unused = source, layout, task, drop, unused
        self.taken = self.left = 0
        self.first: Dropped | None = None
        self.shapes = RowShapes(source.mapping)
        self.ids = SeenTexts()

    def samples(self) -> Iterator[Located]:
        if self.layout in _PUBLISHED:
            yield from self._published()
            return
        for file, raw in self.raw():
            try:
                sample = self.sample(file, raw)
            except RowFault as fault:
                self._leave(file, raw, fault)
            else:
                self.taken += 1
                yield Located(file, raw.number, sample)

    def raw(self) -> Iterator[tuple[str, RawRow]]:
        """Every row of the files, as they have it, with the name of its file."""
        return raw_rows(self.source, self.layout)

    def _published(self) -> Iterator[Located]:
        split = self.source.split or "train"
        for number, row in enumerate(_PUBLISHED[self.layout].read_rows(self.source.path, split), 1):
            self.taken += 1
            file = f"{self.layout}/{split}"
            yield Located(file, number, row.sample(f"{file}:{number}"))

    def sample(self, file: str, raw: RawRow) -> Sample:
        """The sample of a row, its unused fields counted; RowFault when it is none."""
        if raw.fields is None:
            raise RowFault(raw.reason or Reason.WRONG_TYPE, raw.detail)
        shape = self.shapes.of(raw.fields)
        if shape is None:
            raise RowFault(Reason.MISSING_FIELD, no_shape(raw.fields))
        sample = to_sample(raw.fields, shape.columns, self._id(file, raw, shape.columns))
        if left := unused(raw.fields, shape.used):
            self.unused.update(left)
        return sample

    def _id(self, file: str, raw: RawRow, columns: Columns) -> str:
        if columns.id is None or raw.fields is None:
            return f"{file}:{raw.number}"
        given = raw.fields.get(columns.id)
        if given is None or isinstance(given, dict | list):
            raise RowFault(Reason.MISSING_FIELD, f"no '{columns.id}', which is the row's id")
        if not self.ids.add(str(given)):
            raise RowFault(Reason.DUPLICATE_ID, f"an earlier row has the id {str(given)!r}")
        return str(given)

    def _leave(self, file: str, raw: RawRow, fault: RowFault) -> None:
        fields = raw.fields or {}
        shape = self.shapes.of(fields)
        columns = shape.columns if shape else Columns()
        asked = fields.get(columns.user or columns.messages or "", raw.shown or ("" if shape else fields))
        left = Dropped.of(
            file,
            raw.number,
            asked,
            fields.get(columns.target or "", ""),
            fault.reason,
            fault.detail,
            raw.lines,
        )
        self.left += 1
        self.first = self.first or left.cut()
        self.drop(left)

    def why(self) -> str:
        if self.first is None:
            return "."
        why = f"{self.first.reason} {self.first.detail}".rstrip()
        return f": all {self.left} were left out. The first, row {self.first.row}: {why}."


class _Look:
    """What the first rows of a source say of its columns and its task."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self.source = source
        self.task: Task = "classify"
        self.columns: dict[str, str] = {}
        if layout in _PUBLISHED:
            self.task = _PUBLISHED[layout].TASK
            self.columns = {TEXT_COLUMN: "user", LABEL_COLUMN: "target"}
            return
        rows = _Rows(source, layout, source.task, lambda dropped: None, Counter())
        names: dict[str, None] = {}
        tasks: Counter[Task] = Counter()
        samples: list[Sample] = []
        whole, chars = True, 0
        for file, raw in rows.raw():
            if len(samples) >= _LOOKED_AT or chars >= _LOOKED_AT_CHARS:
                whole = False
                break
            chars += 100
            if raw.fields is None:
                continue
            names.update(dict.fromkeys(raw.fields))
            if shape := rows.shapes.of(raw.fields):
                tasks[shape.task] += 1
                self.columns.update({n: part for n, part in shape.used.items() if n in raw.fields})
            try:
                samples.append(rows.sample(file, raw))
            except RowFault:
                continue
            chars += len(samples[-1].question) + len(samples[-1].answer or "")
        if names:
            self._check(names, whole or layout not in (Layout.JSONL, Layout.JSON), bool(samples), bool(tasks))
        if tasks:
            self.task = refined_task(tasks.most_common(1)[0][0], samples, source.label_column != LABEL_COLUMN)

    def _check(self, names: Mapping[str, None], complete: bool, some: bool, shaped: bool) -> None:
        """AskError for mapped columns that no row has, and for columns of no known shape."""
        found, path = list(names), self.source.path
        mapping = self.source.mapping
        for column in (*mapping.used(), *mapping.unused) if complete or not some else ():
            if column not in names:
                raise _no_column(path, column, found)
        if not shaped:
            raise AskError(
                f"cannot tell what the columns of {path} are ({', '.join(found[:30])}). {self._how_to_say()} "
                f"Known without: {SHAPES}."
            )
        if (
            not some
            and self.source.mapping.user
            and not self.source.mapping.target
            and LABEL_COLUMN not in names
        ):
            raise _no_column(path, LABEL_COLUMN, found)

    def _how_to_say(self) -> str:
        """How the columns are mapped, with those that look like question and answer."""
        first = islice(raw_rows(self.source, check_source(self.source)), _GUESSED_FROM)
        likely = likely_question_and_answer(raw.fields or {} for _, raw in first)
        user, target = likely or ("...", "...")
        words = (shlex.quote(f"user={user}"), shlex.quote(f"target={target}"))
        such = "Say which hold question and answer" + (", perhaps" if likely else "")
        return (
            f"{such}: --column {words[0]} --column {words[1]} for init, in a plan columns={{user: {user}, "
            f"target: {target}}}."
        )


def _no_column(path: Path, column: str, found: list[str]) -> AskError:
    return AskError(
        f"{path} has no column '{column}' (it has: {', '.join(found[:30])}).{did_you_mean(column, found)} "
        "Name it with columns, text_column or label_column."
    )
