"""What a cluster's workers do, in this process: the same rows come out as of one machine, of any shape."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opswright.core.contract import StepContext
from opswright.core.errors import BackendError, IntegrityError, NeedsError
from opswright.core.machine import Machine
from opswright.core.settings.compute import RaySettings
from opswright.data.rows import Reason
from opswright.data.sample import Sample
from opswright.skills.curate import curate, gather
from opswright.skills.curate.gather import GatheredRow, GoldenRows, RowSource
from opswright.skills.curate.judge import JudgeRules, RowJudge
from opswright.skills.curate.on_ray import environment, workers
from opswright.skills.curate.on_ray.failures import explained, leave, left
from opswright.skills.curate.on_ray.table import RayTable
from opswright.skills.curate.on_ray.work import Work, copy_code
from opswright.skills.curate.request import CurateRequest
from opswright.skills.curate.stages import RowTable, Table, Tally, choose

PARTITIONS = 3
Rows = list[dict[str, Any]]


def grouped(tables: list[pa.Table], function: Callable[[pa.Table], pa.Table]) -> list[pa.Table]:
    """What a function gives of the rows of each partition, whose rows come in any order."""
    whole = pa.concat_tables(tables)
    order = list(range(len(whole)))
    random.Random(1).shuffle(order)
    whole = whole.take(pa.array(order, pa.int64()))
    parts = whole["part"].to_pylist()
    return [function(whole.filter([part == one for part in parts])) for one in range(PARTITIONS)]


def in_this_process(work: Work) -> None:
    """Do the work as a cluster does, each part and each partition alone and none in order."""
    folder = str(work.folder)
    work.marks.mkdir()
    for number, part in sorted(enumerate(work.parts), reverse=True):
        pq.write_table(
            workers.mark(pq.read_table(part), folder), work.marks / f"{7 - number % 8}-{number}.parquet"
        )
    files = [pa.table({"path": [str(path)]}) for path in work.marks.glob("*.parquet")]
    by_words = [workers.by_words(one, PARTITIONS) for one in files]
    equal = pa.concat_tables(grouped(by_words, lambda rows: workers.equal_rows(rows, folder)))
    pq.write_table(equal, work.equal)
    left_out = workers.left_out_bits(equal, work.rows)
    by_band = [workers.by_band(one, left_out, PARTITIONS) for one in files]
    agreeing = grouped(by_band, lambda rows: workers.agreeing_pairs(rows, PARTITIONS))
    pairs = grouped(agreeing, lambda rows: workers.similar_rows(rows, folder))
    pq.write_table(pa.concat_tables(pairs), work.pairs)


def words(draw: random.Random, n: int, known: int = 400) -> list[str]:
    return [
        f"{'bcdfg'[draw.randrange(5)]}{'aeiou'[draw.randrange(5)]}{draw.randrange(known)}" for _ in range(n)
    ]


def changed(draw: random.Random, said: list[str], often: int = 1) -> list[str]:
    said = list(said)
    for _ in range(often):
        said[draw.randrange(len(said))] += "a"
    return said


def short_rows() -> Rows:
    """Labelled, with exact, normalised and near copies, contradictions, and rows without a label."""
    draw = random.Random(1)
    texts = [words(draw, 12) for _ in range(300)]
    rows = [{"text": " ".join(text), "label": f"label_{n % 4}"} for n, text in enumerate(texts)]
    rows += [
        {"text": " ".join(changed(draw, text)), "label": f"label_{n % 4}"}
        for n, text in enumerate(texts[:60])
    ]
    rows += [{"text": " ".join(text), "label": f"Label {n % 4}"} for n, text in enumerate(texts[30:90], 30)]
    rows += [{"text": " ".join(text).upper() + ".", "label": "label_3"} for text in texts[100:140]]
    rows += [
        {"text": "nothing", "label": ""},
        {"label": "label_1"},
        {"text": "My  nothing", "label": "label_1"},
    ]
    draw.shuffle(rows)
    return rows


def documents() -> Rows:
    """Free answers, longer than the shingles that a rough comparison takes."""
    draw = random.Random(2)
    texts = [words(draw, 150) for _ in range(60)]
    rows = [
        {"question": f"Tell me of {n}, {text[0]}", "answer": " ".join(text)} for n, text in enumerate(texts)
    ]
    rows += [
        {"question": f"Tell me of {n}, {text[0]}", "answer": " ".join(changed(draw, text, 2))}
        for n, text in enumerate(texts[:20])
    ]
    rows += [{"question": f"Tell me of {n}, {texts[n][0]}", "answer": "Yes"} for n in range(10)]
    draw.shuffle(rows)
    return rows


def chats() -> Rows:
    """Conversations with system, turns and groups."""
    draw = random.Random(3)
    rows = []
    for n in range(120):
        said = words(draw, 40) if n % 3 else words(random.Random(n % 4), 40)
        rows.append(
            {
                "messages": [
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": " ".join(said)},
                    {"role": "assistant", "content": f"Well, {said[0]}?"},
                    {"role": "user", "content": "Yes, that."},
                    {"role": "assistant", "content": " ".join(changed(draw, said))},
                ],
                "group": f"person {n % 50}",
            }
        )
    return rows


def a_crowd() -> Rows:
    """More rows alike than one may have partners."""
    draw = random.Random(4)
    said = words(draw, 40)
    rows = [
        {"text": " ".join(changed(draw, said, draw.randrange(1, 9))), "label": f"l{n % 2}"}
        for n in range(700)
    ]
    return rows + short_rows()


SHAPES = {"short": short_rows, "documents": documents, "chats": chats, "crowd": a_crowd}


class Outcome:
    """All that a table says of the rows of a source."""

    def __init__(self, table: Table, source: RowSource, request: CurateRequest) -> None:
        dropped: list[Any] = []
        drop = Tally(dropped.append)
        table.take_in(source.rows, drop, lambda: None)
        verdicts, pairs = table.clean()
        at = range(len(table.keys))
        self.dropped, self.taken = [one.line() for one in dropped], table.taken.tolist()
        self.why = [None if verdicts.kept[n] else verdicts.why(n, table.keys) for n in at]
        self.conflicts, self.pairs = verdicts.conflicts, pairs.each()
        self.own_answers, self.names = table.own_answers, [table.keys.name(n) for n in at]
        chosen = choose(table.keys, verdicts, pairs, request)
        self.chosen = (chosen.rows.tolist(), chosen.groups.tolist(), chosen.sides.tolist())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_rows_come_out_as_of_one_machine(shape: str, tmp_path: Path, context: Any) -> None:
    ctx, rows = many_parts(context), SHAPES[shape]()
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    request = CurateRequest(
        source=source, filters=("length:min_chars=9", "encoding"), near_duplicate_jaccard=0.8
    )
    golden = GoldenRows([" ".join(words(random.Random(1), 12))], {"person 7"})
    task = RowSource(request, ctx).task
    with RowTable(task, request, golden, tmp_path) as table:
        here = Outcome(table, RowSource(request, ctx), request)
    with RayTable(task, request, golden, ctx, do=in_this_process) as there_table:
        there = Outcome(there_table, RowSource(request, ctx), request)
    assert vars(there) == vars(here)
    reasons = {why[0] for why in here.why if why is not None}
    assert Reason.NEAR_DUPLICATE in reasons and here.dropped
    if shape == "short":
        assert {Reason.CONFLICTING_LABEL, Reason.EXACT_DUPLICATE, Reason.NORMALISED_DUPLICATE} <= reasons
    if shape == "crowd":
        partners = [0] * len(rows)
        for _, second, _ in here.pairs:
            partners[second] += 1
        assert max(partners) >= 200, "no row met the limit"


def many_parts(context: Any, rows_a_part: int = 50) -> StepContext:
    ctx: StepContext = context()
    ray = ctx.settings.compute.ray.model_copy(update={"rows_a_part": rows_a_part})
    compute = ctx.settings.compute.model_copy(update={"ray": ray})
    ctx.workspace.settings = ctx.settings.model_copy(update={"compute": compute})
    return ctx


def lay_out(source: Path, ctx: StepContext, **more: Any) -> Work:
    """The work of a source, as it is handed to a cluster."""
    seen: list[Work] = []

    def stop(work: Work) -> None:
        seen.append(work)
        raise InterruptedError

    request = CurateRequest(source=source, **more)
    rows = RowSource(request, ctx)
    with (
        pytest.raises(InterruptedError),
        RayTable(rows.task, request, gather.golden_rows(request, ctx), ctx, do=stop) as table,
    ):
        table.take_in(rows.rows, Tally(lambda dropped: None), lambda: None)
    return seen[0]


def test_other_contents_filters_or_limits_are_other_work_and_the_same_are_the_same(
    tmp_path: Path, context: Any
) -> None:
    source, ctx = tmp_path / "rows.jsonl", many_parts(context)
    rows = [{"text": f"a question of {n}", "label": f"l{n % 2}"} for n in range(120)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = lay_out(source, ctx)
    assert len(first.parts) == 3 and first.rows == 120
    written = {path: Path(path).stat().st_mtime_ns for path in first.parts}
    assert lay_out(source, ctx) == first
    assert {path: Path(path).stat().st_mtime_ns for path in first.parts} == written
    others = [lay_out(source, ctx, filters=("length",)), lay_out(source, ctx, near_duplicate_jaccard=0.6)]
    rows[70]["text"] = "a question of 7"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed_rows = lay_out(source, ctx)
    assert len({work.folder for work in (first, *others, changed_rows)}) == 4
    assert [a == b for a, b in zip(first.parts, changed_rows.parts, strict=True)] == [True, False, True]


def test_what_a_failed_step_laid_out_stays_and_what_succeeded_is_gone(tmp_path: Path, context: Any) -> None:
    source, ctx = tmp_path / "rows.jsonl", many_parts(context)
    source.write_text("".join(json.dumps(row) + "\n" for row in short_rows()))
    work = lay_out(source, ctx)
    assert Path(work.parts[0]).is_file()
    request = CurateRequest(source=source)
    rows = RowSource(request, ctx)
    with RayTable(rows.task, request, GoldenRows(), ctx, do=in_this_process) as table:
        Outcome(table, rows, request)
    assert not work.folder.parent.exists()


def test_rows_that_are_lost_or_doubled_among_the_files_of_marks_are_found() -> None:
    workers.check_marked([(50, 50), (0, 50), (100, 20)], 120)
    for runs in ([(0, 50), (100, 20)], [(0, 50), (50, 50)], [(0, 50), (0, 50), (50, 70)], []):
        with pytest.raises(IntegrityError, match="marked"):
            workers.check_marked(runs, 120)


def test_marks_that_were_taken_away_after_the_work_make_no_dataset(tmp_path: Path, context: Any) -> None:
    source, ctx = tmp_path / "rows.jsonl", many_parts(context)
    source.write_text("".join(json.dumps(row) + "\n" for row in short_rows()))
    request = CurateRequest(source=source)

    def loses_some(work: Work) -> None:
        in_this_process(work)
        sorted(work.marks.glob("*.parquet"))[2].unlink()

    rows = RowSource(request, ctx)
    with (
        pytest.raises(IntegrityError, match="not marked"),
        RayTable(rows.task, request, GoldenRows(), ctx, do=loses_some) as table,
    ):
        table.take_in(rows.rows, Tally(lambda dropped: None), lambda: None)


def test_a_filter_that_fails_is_named_with_its_row() -> None:
    def fails(sample: Sample) -> str | None:
        raise ZeroDivisionError(f"of {sample.id}")

    judge = RowJudge(JudgeRules((), None, GoldenRows(), 0.8, False), [("odd", fails)])
    with pytest.raises(BackendError, match=r"filter odd failed on rows.jsonl row 7: ZeroDivisionError: of 7"):
        judge.judge([GatheredRow("rows.jsonl", 7, Sample.of("7", "text", "label"))], [None])


def test_what_goes_wrong_on_a_cluster_is_told_in_words(tmp_path: Path) -> None:
    class OutOfMemoryError(Exception): ...

    class RayTaskError(Exception):
        def __init__(self, cause: Exception) -> None:
            super().__init__("a long trace of another process")
            self.cause = cause

    told = explained(RayTaskError(OutOfMemoryError("node 1 had 99 % of its memory in use")))
    assert "rows_a_part" in str(told)
    asked = RayTaskError(IntegrityError("40 of 50 rows are marked"))
    assert isinstance(explained(asked), IntegrityError)
    mismatch = explained(RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.50.0"))
    assert "requirements-ray.txt" in str(mismatch)
    assert "no reply" in str(explained(RayTaskError(ValueError("no reply\n")))) and left(tmp_path) is None
    leave(tmp_path, told)
    found = left(tmp_path)
    assert isinstance(found, BackendError) and str(found) == str(told)


def python_with(folder: Path, versions: dict[str, str]) -> Path:
    """An interpreter that says it has these versions."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!/bin/sh\necho '{json.dumps(versions)}'\n")
    python.chmod(0o755)
    return python


def test_preflight_says_where_it_runs_and_what_stands_in_its_way(tmp_path: Path) -> None:
    wanted = environment.pins()
    right = python_with(tmp_path / "right", {name: wanted[name] for name in ("ray", "nemo-curator")})
    old = python_with(tmp_path / "old", {"ray": "2.50.0", "nemo-curator": wanted["nemo-curator"]})
    broken = python_with(tmp_path / "broken", {})
    broken.write_text("#!/bin/sh\nexit 1\n")

    def said(**settings: Any) -> str:
        found = environment.findings(RaySettings(**settings))
        return " | ".join(f"{one.level}: {one.message} {one.fix}" for one in found)

    assert said(python=right, cpus=3).startswith("ok: it runs on a Ray cluster of this machine, 3 CPUs")
    assert "stop: compute: ray needs an environment" in said(python=tmp_path / "none")
    assert "pip install --no-deps -r" in said(python=tmp_path / "none")
    assert f"has ray 2.50.0; expected {wanted['ray']}" in said(python=old)
    assert "is no Python that runs" in said(python=broken)
    for address in ("ray://head:10001", "head", "head:port", ":1"):
        assert f"stop: invalid compute.ray.address '{address}'" in said(python=right, address=address)
    assert "stop: no Ray cluster replies at 127.0.0.1:9" in said(python=right, address="127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert f"ok: it runs on the Ray cluster at {address}" in said(python=right, address=address)
        assert "warn: compute.ray.shared_folder is not set" in said(python=right, address=address)
    with pytest.raises(NeedsError, match=r"no Ray cluster replies"):
        environment.require(RaySettings(python=right, address="127.0.0.1:9"))


def test_a_cluster_of_this_machine_is_out_of_reach_for_others_and_nothing_is_written_to_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    own = environment.driver_environment(RaySettings(), tmp_path)
    assert own["RAY_AUTH_MODE"] == "token" and own["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    theirs = environment.driver_environment(RaySettings(address="head:6379"), tmp_path)
    assert theirs["RAY_AUTH_MODE"] == "disabled" and theirs["RAY_ADDRESS"] == "head:6379"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in theirs
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    named = environment.driver_environment(RaySettings(address="head:6379"), tmp_path)
    assert "RAY_AUTH_MODE" not in named and "secret" not in "".join(named.values())
    assert {one["RAY_USAGE_STATS_ENABLED"] for one in (own, theirs, named)} == {"0"}


def test_gpu_deduplication_is_said_to_be_not_run_and_stops_plan_and_step(
    tmp_path: Path, context: Any
) -> None:
    source, ctx = tmp_path / "rows.jsonl", context()
    source.write_text("".join(json.dumps(row) + "\n" for row in short_rows()))
    request = CurateRequest(source=source, dedup="gpu")
    assert curate.preflight is not None
    found = list(curate.preflight(request, Machine.here(tmp_path), ctx.workspace))
    assert any(one.level == "stop" and "compiled and not run" in one.message for one in found)
    with pytest.raises(NeedsError, match=r"not run.*char_ngrams=5, num_bands="):
        curate(request, ctx)


def test_what_workers_are_given_needs_nothing_that_they_are_not_given(tmp_path: Path) -> None:
    code = copy_code(tmp_path)
    asked = """
import sys
sys.meta_path = [one for one in sys.meta_path if "editable" not in one.__module__]  # where it is installed so
import opswright.skills.curate.on_ray.workers as found
print(found.__file__)
"""
    run = subprocess.run(
        [sys.executable, "-c", asked], env={"PYTHONPATH": str(code)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-800:]
    assert Path(run.stdout.strip()).is_relative_to(code)
