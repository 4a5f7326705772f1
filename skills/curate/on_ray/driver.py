"""The program that has a Ray cluster do some `Work`: Curator marks the rows, Ray Data finds those alike.

Run as `python -m opswright.skills.curate.on_ray.driver FOLDER [CPUS]` in the environment of
requirements-ray.txt. It connects to RAY_ADDRESS; without one it starts a cluster of this machine, which no
other can reach, and stops it. What is there already is not done again.
"""

from __future__ import annotations

import importlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.base import ProcessingStage
from nemo_curator.stages.text.io.reader import ParquetReader
from nemo_curator.stages.text.io.writer import ParquetWriter
from nemo_curator.tasks import DocumentBatch

from ....core.errors import BackendError
from .failures import explained, is_lost_node, leave, left
from .work import Work, read_work
from .workers import check_marked, equal_schema, left_out_bits, no_pairs

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

_START_S = 60
_ROWS_A_PARTITION = 200_000
_BAND_ROWS_A_PARTITION = 2_000_000
_ATTEMPTS = 3


def on_worker(code: str, folder: str, name: str, *arguments: object) -> Callable[[pa.Table], pa.Table]:
    """A function of `workers`, with the arguments after its table; what fails there is left in the folder.

    This file is a program, so what it defines travels by value; the rest a worker imports from `code`. Ray
    tells the driver of a worker's error by a trace alone.
    """

    def call(table: pa.Table) -> pa.Table:
        if code not in sys.path:
            sys.path.insert(0, code)
        workers = importlib.import_module("opswright.skills.curate.on_ray.workers")
        failures = importlib.import_module("opswright.skills.curate.on_ray.failures")
        try:
            return getattr(workers, name)(table, *arguments)
        except Exception as error:
            failures.leave(Path(folder), failures.explained(error))
            raise

    return call


@dataclass
class Mark(ProcessingStage[DocumentBatch, DocumentBatch]):  # type: ignore[misc]
    """Marks each row of a part with why it is left out, by all filters in their order; drops none."""

    folder: str = ""
    code: str = ""
    name: str = "mark"
    batch_size: int = 1  # parts

    def process(self, batch: DocumentBatch) -> DocumentBatch:
        """The part with its marks in the place of its texts."""
        return DocumentBatch(
            dataset_name=batch.dataset_name,
            data=on_worker(self.code, self.folder, "mark", self.folder)(batch.to_pyarrow()),
            _metadata=batch._metadata,  # names the file that is written
            _stage_perf=batch._stage_perf,
        )


def mark_rows(work: Work) -> None:
    """Mark all parts that are not marked yet. Needs RAY_ADDRESS, as Curator's checkpoint does."""
    stages = [
        ParquetReader(file_paths=list(work.parts), files_per_partition=1),
        Mark(folder=str(work.folder), code=str(work.code)),
        ParquetWriter(path=str(work.marks)),
    ]
    pipeline = Pipeline(name="curate", stages=stages)
    pipeline.run(RayDataExecutor(), checkpoint_path=str(work.checkpoint))
    check_marked(_marked(work), work.rows)


def _marked(work: Work) -> list[tuple[int, int]]:
    """First number and count of each file of marks: what was done, by the files."""
    import pyarrow.parquet as pq

    found = []
    for path in work.marks.glob("*.parquet"):
        numbers = pq.read_table(path, columns=["number"])["number"].to_numpy()
        found.append((int(numbers[0]), len(numbers)))
    return found


def find_equal(work: Work) -> None:
    """Find the rows that are left out for an equal one."""
    partitions = 1 + work.rows // _ROWS_A_PARTITION
    code, folder = str(work.code), str(work.folder)
    rows = _each_file(work, on_worker(code, folder, "by_words", partitions))
    found = _grouped(rows, partitions, on_worker(code, folder, "equal_rows", folder))
    _write(found, work.equal, equal_schema().empty_table())


def find_pairs(work: Work) -> None:
    """Find the pairs of similar rows among those that are still there."""
    import pyarrow.parquet as pq

    left_out = left_out_bits(pq.read_table(work.equal), work.rows)
    partitions = 1 + 30 * work.rows // _BAND_ROWS_A_PARTITION
    code, folder = str(work.code), str(work.folder)
    banded = _each_file(work, on_worker(code, folder, "by_band", left_out, partitions))
    agreeing = _grouped(banded, partitions, on_worker(code, folder, "agreeing_pairs", partitions))
    found = _grouped(agreeing, partitions, on_worker(code, folder, "similar_rows", folder))
    _write(found, work.pairs, no_pairs())


def _each_file(work: Work, function: Callable[[pa.Table], pa.Table]) -> Dataset:
    """What a function gives of each file of marks; it gets a table with the file's path.

    Ray's own reader wants an HTTP client, which is not installed, and lists the files on a worker first.
    """
    import ray

    paths = [{"path": str(path)} for path in sorted(work.marks.glob("*.parquet"))]
    files = ray.data.from_items(paths, override_num_blocks=max(1, len(paths)))
    return files.map_batches(function, batch_format="pyarrow", batch_size=1)


def _grouped(rows: Dataset, partitions: int, function: Callable[[pa.Table], pa.Table]) -> Dataset:
    """What a function gives of all rows of each partition, which their column `part` names."""
    grouped = rows.groupby("part", num_partitions=partitions)
    return grouped.map_groups(function, batch_format="pyarrow")


def _write(rows: Dataset, path: Path, nothing: pa.Table) -> None:
    """Write what was found; the name shows when the file is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [table for table in rows.iter_batches(batch_format="pyarrow", batch_size=None) if len(table)]
    new = path.with_suffix(".new")
    pq.write_table(pa.concat_tables([nothing, *tables]), new)
    new.replace(path)


@contextmanager
def cluster(cpus: str) -> Iterator[None]:
    """A cluster to connect to by RAY_ADDRESS: the one it names, or one of this machine alone.

    That one listens on the loopback address, asks for a token that nobody else has, and keeps its files in a
    folder of its own, which is gone afterwards.
    """
    import ray

    if os.environ.get("RAY_ADDRESS"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        os.environ.update(RAY_TMPDIR=folder, RAY_AUTH_TOKEN=secrets.token_hex(32))
        start = ("start", "--head", "--block", "--port=0", "--node-ip-address=127.0.0.1")
        options = ("--include-dashboard=false", "--disable-usage-stats", f"--num-cpus={cpus}")
        process = subprocess.Popen([sys.executable, "-m", "ray.scripts.scripts", *start, *options])
        try:
            os.environ["RAY_ADDRESS"] = _address(Path(folder) / "ray" / "ray_current_cluster", process)
            yield
        finally:
            ray.shutdown()
            os.environ.pop("RAY_ADDRESS", None)
            process.terminate()
            process.wait()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that a cluster writes down when it is up."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        if file.is_file() and (found := file.read_text().strip()):
            return found
        time.sleep(0.1)
    raise BackendError(f"Ray did not start on this machine within {_START_S} s.")


def do(work: Work) -> None:
    """Do what of the work is not done; a step that a lost node broke is begun again."""
    import ray
    from ray.data import DataContext
    from ray.data.context import ShuffleStrategy

    # Of tasks alone: what a lost node had is made again, and no actor holds a CPU that a task waits for.
    DataContext.get_current().shuffle_strategy = ShuffleStrategy.SHUFFLE_V2
    steps: Sequence[tuple[Callable[[Work], None], Path]] = (
        (mark_rows, work.folder / "marked"),
        (find_equal, work.equal),
        (find_pairs, work.pairs),
    )
    for step, done in steps:
        for attempt in range(1, _ATTEMPTS + 1):
            if done.exists():
                break
            try:
                if step is not mark_rows and not ray.is_initialized():
                    ray.init(log_to_driver=False)
                step(work)
            except Exception as error:
                if attempt == _ATTEMPTS or not is_lost_node(error):
                    raise
                print(f"a node was lost: {step.__name__} begins again", flush=True)
            else:
                done.touch()


def main(arguments: Sequence[str]) -> int:
    """Do the work in a folder; what goes wrong is left there for whoever started this."""
    folder, cpus = Path(arguments[0]), arguments[1]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with cluster(cpus):
            do(read_work(str(folder)))
    except Exception as error:
        if left(folder) is None:  # a worker that failed knows more of it
            leave(folder, explained(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
