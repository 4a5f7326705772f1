"""What finding equal and similar rows on a cluster costs with Ray Data, as `curate` does it, and with Daft.

Both get the same marked rows and do the same with them, by the same functions of the same workers: hashes of
shingles, bands, Jaccard on the workers. Only what reads, shuffles and gathers differs. Two nodes of one CPU
each in this machine. CPU seconds and memory are those of all processes, sampled; starting (cluster, imports)
is a row of its own. Some minutes on 2 cores.

    python benchmarks/curate_cluster.py PYTHON [--rows 20000 200000] [--documents 1000 10000] [--kill]

PYTHON: one with requirements-ray.txt and daft==0.7.26. --kill: the second node is killed while pairs are
looked for.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import JACCARD, sampled, write_rows

if TYPE_CHECKING:
    import daft
    import pyarrow as pa

    from opswright.skills.curate.on_ray.work import Work

ENGINES = ("starting alone", "Ray Data", "Daft")
_WORKING_S = 2  # after which a node is killed
_EQUAL_COLUMNS = ("number", "exact", "words", "answer", "label", "side")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "DAFT_PROGRESS_BAR": "0",
    "OMP_NUM_THREADS": "1",
}


# In the environment of PYTHON: one engine on a cluster.


@contextmanager
def two_nodes(kill_when: Path | None) -> Iterator[str]:
    """A cluster of two nodes in this machine; gives its address. One is killed when a file is there."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)

    def kill(file: Path) -> None:
        while not file.exists():
            time.sleep(0.1)
        time.sleep(_WORKING_S)
        second.kill_raylet()
        second.kill_all_processes(check_alive=False, allow_graceful=False)
        print("one of two nodes is killed", file=sys.stderr, flush=True)

    try:
        if kill_when is not None:
            threading.Thread(target=kill, args=[kill_when], daemon=True).start()
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def by_ray_data(work: Work, address: str) -> None:
    """Find equal and similar rows as `curate` does."""
    from ray.data import DataContext
    from ray.data.context import ShuffleStrategy

    from opswright.skills.curate.on_ray import driver

    DataContext.get_current().shuffle_strategy = ShuffleStrategy.SHUFFLE_V2
    again_if_lost(driver.find_equal, work)
    again_if_lost(driver.find_pairs, work)


def by_daft(work: Work, address: str) -> None:
    """Find equal and similar rows by Daft's runner for Ray."""
    import daft

    daft.set_runner_ray(address, noop_if_initialized=True)
    again_if_lost(daft_equal, work)
    again_if_lost(daft_pairs, work)


def again_if_lost(step: Callable[[Work], None], work: Work) -> None:
    """Do a step, at most three times where a lost node breaks it, as `driver.do` does."""
    from opswright.skills.curate.on_ray.failures import is_lost_node

    for attempt in (1, 2, 3):
        try:
            return step(work)
        except Exception as error:
            if attempt == 3 or not is_lost_node(error):
                raise
            print(f"{step.__name__} begins again: {type(error).__name__}", file=sys.stderr, flush=True)


def daft_equal(work: Work) -> None:
    """`driver.find_equal`, by Daft."""
    import daft
    import pyarrow.parquet as pq
    from daft import col

    from opswright.skills.curate.on_ray.driver import _ROWS_A_PARTITION
    from opswright.skills.curate.on_ray.workers import equal_schema

    partitions = 1 + work.rows // _ROWS_A_PARTITION
    rows = daft.read_parquet(f"{work.marks}/*.parquet").where(col("reason").is_null())
    parted = rows.select(*_EQUAL_COLUMNS, (col("words") % partitions).cast("int32").alias("part"))
    equal = on_groups("equal_rows", equal_schema(), _EQUAL_COLUMNS, str(work.folder))
    found = by_part(parted, partitions, equal(*map(col, _EQUAL_COLUMNS)))
    pq.write_table(found.to_arrow().cast(equal_schema()), work.equal)


def daft_pairs(work: Work) -> None:
    """`driver.find_pairs`, by Daft."""
    import daft
    import pyarrow as pa
    import pyarrow.parquet as pq
    from daft import DataType, col

    from opswright.skills.curate.on_ray.driver import _BAND_ROWS_A_PARTITION
    from opswright.skills.curate.on_ray.workers import left_out_bits, no_pairs

    partitions = 1 + 30 * work.rows // _BAND_ROWS_A_PARTITION
    left_out = left_out_bits(pq.read_table(work.equal), work.rows)

    banded_key = DataType.struct({"band": DataType.int16(), "key": DataType.uint64()})

    @daft.func.batch(return_dtype=DataType.list(banded_key))
    def keys_of(number: daft.Series, bands: daft.Series) -> pa.Array:
        return band_keys(number.to_arrow(), bands.to_arrow(), left_out)

    marks = daft.read_parquet(f"{work.marks}/*.parquet").select("number", "bands")
    listed = marks.select("number", keys_of(col("number"), col("bands")).alias("at"))
    banded = listed.explode("at", ignore_empty_and_null=True).select("number", col("at").unnest())
    part = ((col("key") + col("band").cast("uint64")) % partitions).cast("int32")
    banded = banded.with_column("part", part)
    pairs = pa.schema(
        [("band", pa.int16()), ("first", pa.int64()), ("second", pa.int64()), ("part", pa.int32())]
    )
    columns = ("band", "key", "number")
    agreeing = on_groups("agreeing_pairs", pairs, columns, partitions)
    proposed = by_part(banded, partitions, agreeing(*map(col, columns)))
    columns = ("band", "first", "second")
    similar = on_groups("similar_rows", no_pairs().schema, columns, str(work.folder))
    found = by_part(proposed, partitions, similar(*map(col, columns)))
    pq.write_table(found.to_arrow().cast(no_pairs().schema), work.pairs)


def band_keys(number: pa.Array, bands: pa.Array, left_out: bytes) -> pa.Array:
    """The bands of each row with their keys as a list, none for a row that is not there any more."""
    import numpy as np
    import pyarrow as pa

    bits = np.frombuffer(left_out, np.uint8)
    numbers = number.to_numpy(zero_copy_only=False)
    here = ~(bits[numbers >> 3] & (128 >> (numbers & 7))).astype(bool)
    texts = [text if is_here else b"" for text, is_here in zip(bands.to_pylist(), here.tolist(), strict=True)]
    counts = np.array([len(text) // 8 for text in texts], np.int64)
    ends = np.concatenate([[0], np.cumsum(counts)])
    band = (np.arange(ends[-1]) - np.repeat(ends[:-1], counts)).astype(np.int16)
    keys = np.frombuffer(b"".join(texts), np.uint64)
    return pa.LargeListArray.from_arrays(ends, pa.StructArray.from_arrays([band, keys], ["band", "key"]))


def on_groups(name: str, schema: pa.Schema, columns: tuple[str, ...], argument: object) -> Callable[..., Any]:
    """A function of `workers` as Daft runs it on a group."""
    import daft
    from daft import DataType

    kind = DataType.struct({one.name: DataType.from_arrow_type(one.type) for one in schema})

    @daft.udf(return_dtype=kind)
    def call(*series: daft.Series) -> pa.Array:
        import pyarrow as pa

        from opswright.skills.curate.on_ray import workers

        table = pa.table([one.to_arrow() for one in series], names=list(columns))
        found = getattr(workers, name)(table, argument).cast(schema).combine_chunks()
        return pa.StructArray.from_arrays(
            [one.combine_chunks() for one in found.columns], fields=list(schema)
        )

    return call


def by_part(rows: daft.DataFrame, partitions: int, call: Any) -> daft.DataFrame:
    """What a function gives of all rows of each part."""
    from daft import col

    found = rows.repartition(partitions, "part").groupby("part").map_groups(call.alias("found"))
    return found.select(col("found").unnest())


def run_engine(name: str, folder: str, kills: bool) -> None:
    """Do a work's finding of equal and similar rows by one engine."""
    import daft  # noqa: F401  both engines take the time to import it, and Curator
    import ray  # noqa: F401

    from opswright.skills.curate.on_ray import driver  # noqa: F401
    from opswright.skills.curate.on_ray.work import read_work

    if name == ENGINES[0]:
        with two_nodes(None):
            print(0)
        return
    work = read_work(folder)
    with two_nodes(work.equal if kills else None) as address:
        {"Ray Data": by_ray_data, "Daft": by_daft}[name](work, address)
    print(0)


# In the environment of Opswright: the same rows for all engines.


@dataclass(frozen=True)
class Outcome:
    """Which rows stay, and why others do not, as a digest; how many are left out."""

    digest: str
    left_out: int


class Bench:
    """One file of rows, compared here and on a cluster, in a workspace of its own."""

    def __init__(self, path: Path, home: Path, python: str, kills: bool = False) -> None:
        from opswright.core.contract import StepContext
        from opswright.core.settings import load_settings
        from opswright.core.workspace import Workspace
        from opswright.skills.curate import CurateRequest

        self._python, self._marked, self._kills = python, home / "marked", kills
        self._request = CurateRequest(source=path, near_duplicate_jaccard=JACCARD)
        workspace = Workspace(
            load_settings(home=home, actor="benchmark", compute={"ray": {"rows_a_part": 20_000}})
        )
        self._ctx = StepContext(
            workspace=workspace, run_id="run", step_id="data", idempotency_key="key", workdir=home
        )

    def here(self) -> Outcome:
        """What one machine finds."""
        from opswright.skills.curate.gather import GoldenRows, RowSource
        from opswright.skills.curate.stages import RowTable

        source = RowSource(self._request, self._ctx)
        with RowTable(source.task, self._request, GoldenRows(), self._ctx.workdir) as table:
            return self._outcome(table, source)

    def there(self, engine: str) -> tuple[Outcome, float, float]:
        """What a cluster finds by an engine; CPU seconds and MB of the cluster."""
        from opswright.skills.curate.gather import GoldenRows, RowSource
        from opswright.skills.curate.on_ray.table import RayTable

        spent: list[tuple[float, float]] = []

        def do(work: Work) -> None:
            self._mark(work)
            spent.append(self.cluster(engine, str(work.folder), str(work.code)))

        source = RowSource(self._request, self._ctx)
        with RayTable(source.task, self._request, GoldenRows(), self._ctx, do=do) as table:
            outcome = self._outcome(table, source)
        return outcome, *spent[0]

    def cluster(self, engine: str, folder: str = "", code: str = "") -> tuple[float, float]:
        """CPU seconds and MB of a cluster and its driver."""
        package = code or os.environ["PYTHONPATH"]
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:
            more = {**QUIET, "PYTHONPATH": package, "RAY_TMPDIR": short}
            command = [self._python, __file__, self._python, "--one", engine, folder]
            return sampled([*command, *(["--kill"] if self._kills else [])], more)[:2]

    def _mark(self, work: Work) -> None:
        """Mark the rows, once for all engines."""
        import pyarrow.parquet as pq

        from opswright.skills.curate.on_ray import workers

        if not self._marked.exists():
            work.marks.mkdir()
            for number, part in enumerate(work.parts):
                marks = workers.mark(pq.read_table(part), str(work.folder))
                pq.write_table(marks, work.marks / f"{number}.parquet")
            shutil.copytree(work.folder, self._marked)
        shutil.copytree(self._marked, work.folder, dirs_exist_ok=True)

    @staticmethod
    def _outcome(table: Any, source: Any) -> Outcome:
        from opswright.skills.curate.stages import Tally

        table.take_in(source.rows, Tally(lambda dropped: None), lambda: None)
        verdicts, pairs = table.clean()
        parts = (verdicts.reason, verdicts.other, verdicts.jaccard, pairs.first, pairs.second, pairs.jaccard)
        digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
        return Outcome(digest, int((~verdicts.kept).sum()))


def lines_of(file: Path, *names: str) -> int:
    """Lines of some functions of a file."""
    found = (one for one in ast.parse(file.read_text()).body if isinstance(one, ast.FunctionDef))
    return sum(1 + (one.end_lineno or 0) - one.lineno for one in found if one.name in names)


def print_lines() -> None:
    """Print how much code each engine takes beside the functions that both call."""
    folder = Path(__file__).parents[1] / "skills" / "curate" / "on_ray"
    ray = lines_of(
        folder / "driver.py", "on_worker", "find_equal", "find_pairs", "_each_file", "_grouped", "_write"
    )
    ray += lines_of(folder / "workers.py", "by_words", "by_band", "_read")
    daft = lines_of(Path(__file__), "daft_equal", "daft_pairs", "band_keys", "on_groups", "by_part")
    print(f"lines of code: Ray Data {ray}, Daft {daft}")


def compare(title: str, n: int, words: int, python: str, kills: bool) -> None:
    """Print the table of one kind of rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        near = write_rows(path, n, words)
        bench = Bench(path, Path(folder) / "home", python, kills)
        here = bench.here()
        print(f"{n:,} {title}, {near} near and {near} exact copies; here {here.left_out} rows are left out")
        for engine in ENGINES[1:]:
            found, cpu_s, memory_mb = bench.there(engine)
            same = "the same rows" if found == here else f"OTHER ROWS ({found.left_out} left out)"
            recall = found.left_out / (2 * near)
            print(
                f"  {engine:10} {cpu_s:7.1f} CPU s {memory_mb:7,.0f} MB, {recall:.4f} of the copies, {same}",
                flush=True,
            )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="a Python with requirements-ray.txt and Daft")
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--documents", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_engine(*asked.one, asked.kill)
        return
    with tempfile.TemporaryDirectory() as folder:
        cpu_s, memory_mb = Bench(Path(folder), Path(folder) / "home", asked.python).cluster(ENGINES[0])
    print_lines()
    print(f"{ENGINES[0]}: {cpu_s:.1f} CPU s {memory_mb:,.0f} MB", flush=True)
    for title, words, sizes in (("short rows", 12, asked.rows), ("documents", 310, asked.documents)):
        for n in sizes:
            compare(title, n, words, asked.python, asked.kill)


if __name__ == "__main__":
    main()
