"""What a cluster is given to do, whole, on a disk that every node sees, and where it leaves what it found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from ....core.files import sha256_file, sha256_json, write_atomically
from ....core.install import PACKAGE
from ....data.sample import Task, text_of
from ..gather import GatheredRow
from ..judge import JudgeRules

_PLAN = "work.json"
_CHARS_A_PART = 8_000_000
_LAYERS = ("core", "data", "evals", "skills")  # what a worker imports


@dataclass(frozen=True)
class Work:
    """Rows to judge and to compare, and how. Its folder is named by all of it: other rows, another folder.

    parts: the files with the rows, in order. code: the folder with the package that the workers import.
    """

    folder: Path
    task: Task
    rules: JudgeRules
    least: float
    near: float
    parts: tuple[str, ...]
    rows: int
    code: Path

    def lay_out(self) -> Self:
        """The work with its folder named and its plan in it."""
        plan = self._document()
        named = replace(self, folder=self.folder / sha256_json(plan)[:16])
        named.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(named.folder / _PLAN, json.dumps(plan).encode())
        return named

    def _document(self) -> dict[str, Any]:
        parts = asdict(self) | {"rules": self.rules.document(), "code": str(self.code)}
        return {name: value for name, value in parts.items() if name != "folder"}

    @property
    def marks(self) -> Path:
        """The folder with what was found of each row, one file a part."""
        return self.folder / "marks"

    @property
    def checkpoint(self) -> Path:
        """The folder in which Curator keeps which parts are done."""
        return self.folder / "checkpoint"

    @property
    def shingles(self) -> Path:
        """The folder with the shingles of each row that was not left out."""
        return self.folder / "shingles"

    @property
    def answers(self) -> Path:
        """The folder with the shingles of each row's answer, where answers are free."""
        return self.folder / "answers"

    @property
    def equal(self) -> Path:
        """The file of rows that are left out for an equal one."""
        return self.folder / "equal.parquet"

    @property
    def pairs(self) -> Path:
        """The file of pairs of similar rows."""
        return self.folder / "pairs.parquet"

    @property
    def parts_marked(self) -> int:
        """How many parts are done, by their files."""
        return sum(1 for _ in self.marks.glob("*.parquet"))


@cache
def read_work(folder: str) -> Work:
    """The work whose plan lies in a folder; a process reads it once."""
    plan = json.loads((Path(folder) / _PLAN).read_bytes())
    rules = JudgeRules.from_document(plan.pop("rules"))
    parts, code = tuple(plan.pop("parts")), Path(plan.pop("code"))
    return Work(Path(folder), rules=rules, parts=parts, code=code, **plan)


@dataclass(frozen=True)
class RowToJudge:
    """A row with its number in the whole source, and how an endpoint's answer was found in it."""

    number: int
    row: GatheredRow
    own: str | None


def write_parts(rows: Iterator[RowToJudge], folder: Path, rows_a_part: int) -> tuple[str, ...]:
    """Write rows to files of so many, fewer of long ones; gives their paths in order.

    A file is named by its place and by a digest of what it holds, so one that is there is not written again,
    and other rows are never another file of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, held, chars = list[Path](), list[RowToJudge](), 0
    for one in rows:
        held.append(one)
        chars += sum(len(text_of(message)) for message in one.row.sample.conversation)
        if len(held) >= rows_a_part or chars >= _CHARS_A_PART:
            paths.append(_write_part(held, folder / f"{len(paths):06d}"))
            held, chars = [], 0
    if held:
        paths.append(_write_part(held, folder / f"{len(paths):06d}"))
    return tuple(map(str, paths))


def _write_part(rows: Sequence[RowToJudge], stem: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "number": [one.number for one in rows],
        "file": [one.row.file for one in rows],
        "row": [one.row.row for one in rows],
        "side": [one.row.side for one in rows],
        "own": [one.own for one in rows],
        "sample": [json.dumps(one.row.sample.document()) for one in rows],
    }
    path = stem.with_name(f"{stem.name}-{sha256_json(columns)[:16]}.parquet")
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}")
        texts = {name: pa.string() for name in ("file", "side", "own", "sample")}
        arrays = {name: pa.array(held, texts.get(name, pa.int64())) for name, held in columns.items()}
        pq.write_table(pa.table(arrays), new, compression="zstd")
        new.replace(path)
    return path


def copy_code(folder: Path) -> Path:
    """Put what workers import there, under a name that its digest makes; gives the folder to import from."""
    files = sorted(path for layer in _LAYERS for path in _code_below(PACKAGE / layer))
    files.append(PACKAGE / "__init__.py")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE)} {sha256_file(path)}\n".encode())
    target = folder / f"code-{digest.hexdigest()[:16]}"
    if not target.is_dir():
        new = folder / f".{target.name}.{os.getpid()}"
        for path in files:
            to = new / "opswright" / path.relative_to(PACKAGE)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        new.rename(target)
    return target


def _code_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix == ".py" or path.parent.name == "words":
            yield path
