"""The rows of a source as a Ray cluster judges and compares them; the same come out as on one machine."""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ....compute import Job, JobFailedError, Resources, run_job
from ....compute.folder import JobFolder
from ....compute.local import LocalCompute
from ....core.contract import StepContext
from ....core.files import sha256_json
from ....data.rows import Reason
from ....data.sample import Task
from ....data.similar import Pairs
from ..clean import Verdicts, leave_alike
from ..gather import GoldenRows
from ..judge import JudgeRules
from ..keys import RowKeys
from ..own_answers import OwnAnswers
from ..request import CurateRequest
from ..stages import Reader, Tally, least_jaccard, row_batches
from .environment import driver_environment, interpreter, require
from .failures import FAILURE, left
from .work import RowToJudge, Work, copy_code, write_parts
from .workers import check_marked, keys_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_DRIVER = "opswright.skills.curate.on_ray.driver"


class RayTable:
    """What a cluster found of the rows taken in: keys in files of its own, all else on the shared disk.

    The cluster's program is a job of this machine, so it outlives whoever started it, and is attached to when
    the step is run again. What it has done lies under the digest of the rows and of all that decides.

    do: who does the work; by default a cluster.
    """

    def __init__(
        self,
        task: Task,
        request: CurateRequest,
        golden: GoldenRows,
        ctx: StepContext,
        own: OwnAnswers | None = None,
        do: Callable[[Work], None] | None = None,
    ) -> None:
        self.taken = array("B")
        self.own_answers = 0
        self._request, self._ctx, self._own = request, ctx, own
        self._rules = JudgeRules.of(request, golden)
        self._folder = work_folder(ctx)
        self._work: Work | None = None
        if do is None:
            require(ctx.settings.compute.ray)
        self._files = ExitStack()
        self.keys = self._files.enter_context(RowKeys(task))
        self._do = do or self._run_job

    def take_in(self, read: Reader, drop: Tally, seen: Callable[[], None]) -> None:
        """Have all rows judged and compared, then take in those that were not left out."""
        import pyarrow.compute as pc

        work = self._lay_out(read)
        if not work.pairs.is_file():
            self._do(work)
        marks = _marked_rows(work)
        for batch in row_batches(read(drop)):  # in batches, as on one machine: what is left out has its order
            for row in batch:
                reason, detail, is_own = next(marks)
                self.own_answers += is_own
                self.taken.append(reason is None)
                if reason is not None:
                    drop.row(row, Reason(reason), detail)
            seen()
        for table in _tables(work):
            self.keys.take(keys_of(table.filter(pc.is_null(table["reason"]))))
        self._work = work

    def _lay_out(self, read: Reader) -> Work:
        """Write the rows to files, and what is to be done with them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        words = self._rules.toxic_words
        rules = self._rules
        if words is not None:
            shared = self._folder / f"words-{sha256_json(words.read_text())[:16]}"
            shutil.copyfile(words, shared)
            rules = replace(rules, toxic_words=shared)
        rows = _Counted(self._rows(read))
        parts = write_parts(iter(rows), self._folder / "parts", self._ctx.settings.compute.ray.rows_a_part)
        request = self._request
        return Work(
            self._folder,
            self.keys.task,
            rules,
            least_jaccard(request),
            request.near_duplicate_jaccard,
            parts,
            rows.count,
            copy_code(self._folder),
        ).lay_out()

    def _rows(self, read: Reader) -> Iterator[RowToJudge]:
        number = 0
        for batch in row_batches(read(lambda dropped: None)):
            samples = [row.sample for row in batch]
            answered = self._own.why(samples) if self._own else [None] * len(batch)
            for row, own in zip(batch, answered, strict=True):
                yield RowToJudge(number, row, own)
                number += 1

    def _run_job(self, work: Work) -> None:
        """Have a cluster do the work, or wait until it has; what went wrong is raised in its family."""
        ctx = self._ctx
        (work.folder / FAILURE).unlink(missing_ok=True)
        settings = ctx.settings.compute.ray
        job = Job(
            name="curate",
            key=f"{ctx.idempotency_key}-{work.folder.name}",
            command=(str(interpreter(settings)), "-P", "-m", _DRIVER, str(work.folder), str(settings.cpus)),
            folder=ctx.workdir,
            log=ctx.workspace.logs / f"curate-{ctx.run_id}-{ctx.step_id}.log",
            resources=Resources(cpus=settings.cpus),
            environment=driver_environment(settings, work.code),
        )
        try:
            done = run_job(ctx, job, LocalCompute(), watcher=_Progress(ctx, work))
            if done.attached and not work.pairs.is_file():  # it was given other rows, or an earlier code
                JobFolder.of(done.handle).close()
                run_job(ctx, job, LocalCompute(), watcher=_Progress(ctx, work))
        except JobFailedError as error:
            if (found := left(work.folder)) is not None:
                raise found from error
            raise

    def clean(self) -> tuple[Verdicts, Pairs]:
        """Which rows stay, and the similar ones among them."""
        import numpy as np
        import pyarrow.parquet as pq

        if self._work is None:
            raise ValueError("rows are taken in before they are cleaned")
        place = (
            np.cumsum(np.frombuffer(self.taken, np.uint8), dtype=np.int64) - 1
        )  # of a row of the source among those taken
        verdicts = Verdicts.of(len(self.keys))
        _leave_equal(pq.read_table(self._work.equal), place, verdicts)
        found = pq.read_table(self._work.pairs).sort_by([("first", "ascending"), ("second", "ascending")])
        first, second = (place[found[name].to_numpy()] for name in ("first", "second"))
        pairs = Pairs(first, second, found["jaccard"].to_numpy())
        near = self._request.near_duplicate_jaccard
        same_answer = found["same_answer"].to_numpy()[pairs.jaccard >= near]
        leave_alike(
            pairs.above(near),
            lambda one, other: (self.keys.meant(one) == self.keys.meant(other)) | same_answer,
            verdicts,
        )
        return verdicts, pairs

    def __enter__(self) -> RayTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._files.close()
        if kind is None:  # else who runs the step again goes on from it
            shutil.rmtree(self._folder, ignore_errors=True)


def work_folder(ctx: StepContext) -> Path:
    """Where a step's work lies: in its own folder, or under a name of its own on the shared disk."""
    shared = ctx.settings.compute.ray.shared_folder
    if shared is None:
        return ctx.workdir.absolute() / "ray"
    return shared.absolute() / f"curate-{sha256_json(str(ctx.workdir.absolute()))[:16]}"


class _Counted:
    """Rows, and how many came so far."""

    def __init__(self, rows: Iterator[RowToJudge]) -> None:
        self._rows, self.count = rows, 0

    def __iter__(self) -> Iterator[RowToJudge]:
        for row in self._rows:
            self.count += 1
            yield row


class _Progress:
    """Tells how many parts are marked, by the files that are there."""

    def __init__(self, ctx: StepContext, work: Work) -> None:
        self._ctx, self._work = ctx, work

    def look(self, folder: Path) -> None:
        """Tell it."""
        self._ctx.progress(self._work.parts_marked, len(self._work.parts), "parts")


def _tables(work: Work) -> Iterator[pa.Table]:
    """What was found of the rows, in their order, a part at a time; IntegrityError unless of all rows."""
    import pyarrow.parquet as pq

    found = []
    for path in work.marks.glob("*.parquet"):
        numbers = pq.read_table(path, columns=["number"])["number"]
        found.append((numbers[0].as_py(), len(numbers), path))
    check_marked([(first, count) for first, count, _ in found], work.rows)
    for _, _, path in sorted(found):
        yield pq.read_table(path, columns=_COLUMNS)


_COLUMNS = [
    "number", "reason", "detail", "is_own", "exact", "words", "prompt", "answer", "tied", "label", "file",
    "row", "side",
]  # fmt: skip


def _marked_rows(work: Work) -> Iterator[tuple[str | None, str, bool]]:
    """Of each row in order: the reason it is left out, in words too, and whether an endpoint answered it."""
    for table in _tables(work):
        columns = (table[name].to_pylist() for name in ("reason", "detail", "is_own"))
        yield from zip(*columns, strict=True)


def _leave_equal(found: pa.Table, place: Ints, verdicts: Verdicts) -> None:
    import numpy as np

    rows = zip(*(found[name].to_pylist() for name in ("number", "reason", "other", "labels")), strict=True)
    for number, reason, other, labels in rows:
        at = int(place[number])
        if labels is not None:
            verdicts.conflicts[at] = json.loads(labels)
        else:
            verdicts.leave(np.array([at]), Reason(reason), place[[other]])
