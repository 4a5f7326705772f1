"""The skill `curate`: raw samples in, a clean training set out, every row left out accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.artifact_refs import DatasetRef, PendingArtifact
from ...core.contract import Cost, Effect, Finding, StepContext, skill
from ...core.errors import AskError, NeedsError, OpswrightError
from ...core.machine import Machine
from ...core.workspace import Workspace
from .counts import Counts
from .request import CurateRequest, CurateResult

if TYPE_CHECKING:
    from ...core.settings import Settings
    from ...data.sample import Task
    from .clean import Verdicts
    from .gather import GoldenRows, RowSource
    from .golden_meaning import GoldenMeaning
    from .on_ray.table import RayTable
    from .same_meaning import SameMeaning
    from .stages import RowTable, Table, Written

__all__ = ["CurateRequest", "CurateResult", "curate"]

_ROWS_PER_S = 7_000  # cleaning short texts on one busy core
_BYTES_A_ROW = 50
_RAY_START_S, _RAY_CPU, _RAY_DISK = (
    30,
    2,
    20,
)  # a cluster of this machine; its CPU time and disk by a source's
_STAGES = 5
_ONE_MACHINE = "{} is asked from this machine alone, not from a Ray cluster's workers."


def _preflight(request: CurateRequest, machine: Machine, workspace: Workspace) -> Sequence[Finding]:
    from ...core.install import not_installed
    from ...data.filters import make_filter, modules_of
    from .gather import check_replay

    found = []
    if missing := not_installed(modules_of(request.filters), "languages"):
        found.append(missing)
    try:
        found += _source_findings(request, machine, workspace)
        check_replay(request)
        for asked in request.filters:
            make_filter(asked, request.toxic_words)
        for ref in (request.golden, request.replay):
            if ref is not None:
                workspace.artifacts.open(ref)
    except PendingArtifact as error:
        found.append(Finding(level="ok", message=f"checked when it runs: {error}."))
    except OpswrightError as error:
        found.append(Finding(level="stop", message=str(error)))
    if request.golden is None:
        found.append(
            Finding(
                level="warn",
                message="no golden set is kept out of training, so an evaluation may measure memory.",
                fix="Make one with `golden` and give it as golden.",
            )
        )
    return [*found, *_where_findings(request, workspace.settings)]


def _where_findings(request: CurateRequest, settings: Settings) -> Iterator[Finding]:
    """Where rows are judged and compared, and what stands in its way."""
    from ...evals.server_settings import sent_to
    from .on_ray import environment, gpu

    if request.dedup == "gpu":
        yield gpu.not_run(request.near_duplicate_jaccard)
    if (embedder := request.golden_embedder) is not None:
        yield sent_to("embedder", embedder, "what each row and each golden row asks")
    if (alike := request.semantic_duplicates) is not None and alike.embedder is not None:
        yield sent_to("embedder", alike.embedder, "what each row asks that nothing else leaves out")
    if compute_name(request, settings) == "ray":
        for name in ("golden_embedder", "semantic_duplicates"):
            if getattr(request, name) is not None:
                yield Finding(
                    level="stop", message=_ONE_MACHINE.format(name), fix="Curate with compute=local."
                )
        yield from environment.findings(settings.compute.ray)


def _source_findings(request: CurateRequest, machine: Machine, workspace: Workspace) -> Iterator[Finding]:
    """Whether the rows are there, and whether the plan's id says which they are; errors as of the readers."""
    from ...data.read import check_source
    from ...data.remote import fetched
    from .gather import remote_store

    source = request.source
    if isinstance(source, Path):
        yield Finding(level="ok", message=f"{source} is there, layout {check_source(request.rows(source))}.")
        return
    if fetched(source, remote_store(workspace), request.source_sha256, request.split):
        yield Finding(level="ok", message=f"{source} was fetched earlier, and is as it was.")
        return
    size = _remote_bytes(request)
    said = "of unknown size" if size is None else f"{size / 1e6:,.1f} MB"
    yield Finding(level="note", message=f"{source} is fetched when the step runs ({said}).")
    if size is not None and 5 * size > machine.disk_free_gb * 1e9:
        message = f"{source} and what is made of it take {5 * size / 1e9:.1f} GB; "
        message += f"{machine.disk_free_gb:.1f} GB are free."
        yield Finding(level="stop", message=message, fix=f"Free space on the disk of {workspace.root}.")
    if not (source.is_pinned or request.source_sha256):
        yield Finding(
            level="warn",
            message=f"the plan's id does not cover what {source} holds; its digest is recorded.",
            fix="Give it as source_sha256.",
        )


def _remote_bytes(request: CurateRequest) -> int | None:
    """Bytes of a source that lies elsewhere; None where the other side does not say."""
    from ...data.remote import RemoteSource, look_up

    sizes = [file.size_bytes for file in look_up(RemoteSource(request.source), request.split)]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _local_bytes(source: Path) -> int:
    from ...core.files import files_below

    files = files_below(source).values() if source.is_dir() else [source]
    return sum(file.stat().st_size for file in files)


def _estimate(request: CurateRequest, machine: Machine, workspace: Workspace) -> Cost:
    """Minutes by the source's size; what an embedder takes nobody knows, so that a budget refuses it."""
    cost = _without_embedder(request, workspace)
    return cost.model_copy(update={"minutes": None, "usd": None, "tokens": None}) if _asked(request) else cost


def _asked(request: CurateRequest) -> bool:
    """Whether rows are sent to an embedder."""
    alike = request.semantic_duplicates
    return request.golden_embedder is not None or (alike is not None and alike.embedder is not None)


def _without_embedder(request: CurateRequest, workspace: Workspace) -> Cost:
    local = isinstance(request.source, Path)
    size = _local_bytes(Path(request.source)) if local else _remote_bytes(request)
    if size is None:
        return Cost(gpu_hours=0, usd=0)
    cpu_s = size / _BYTES_A_ROW / _ROWS_PER_S
    if compute_name(request, workspace.settings) == "local":
        return Cost(minutes=(5 + cpu_s) / 60, gpu_hours=0, usd=0, disk_bytes=4 * size)
    ray = workspace.settings.compute.ray
    minutes = None if ray.address else (_RAY_START_S + cpu_s + _RAY_CPU * cpu_s / ray.cpus) / 60
    return Cost(minutes=minutes, gpu_hours=0, usd=0, disk_bytes=_RAY_DISK * size)


@skill(
    effect=Effect.WRITES,
    summary="Clean, deduplicate and split raw text, chats or any samples into a training set.",
    phrases=[
        "clean {source}",
        "clean up {source}",
        "curate {source}",
        "prepare {source}",
        "prepare {source} for training",
        "deduplicate {source}",
        "deduplicate {source} and keep {golden} out of it",
        "dedupe {source}",
        "dedup {source}",
        "remove duplicates from {source}",
        "delete duplicates from {source}",
        "drop duplicates from {source}",
        "remove duplicates in {source}",
        "filter {source}",
        "make a training set from {source}",
        "make a dataset from {source}",
        "make a training set of {source}",
        "build a dataset from {source}",
        "build a training set from {source}",
        "create a dataset from {source}",
        "create a training set from {source}",
        "turn {source} into a training set",
        "turn {source} into a dataset",
        "import the data {source}",
        "load {source}",
        "ingest {source}",
        "cleaning of {source}",
        "curation of {source}",
        "split {source} into train and validation",
        "divide {source} into train and validation",
        "mask personal data in {source}",
        "take out the duplicates from {source}",
        "take duplicates out of {source}",
        "strip duplicates from {source}",
        "cleanup {source}",
        "remove personal data from {source}",
        "dataset from {source}",
        "training set from {source}",
        "take the duplicates out of {source}",
        "take out the duplicates of {source}",
        "get rid of the duplicates in {source}",
        "get {source} ready for training",
        "preprocess {source}",
        "tidy {source}",
        "tidy up {source}",
        "make {source} ready for training",
        "anonymise {source}",
        "make training data from {source}",
        "build training data from {source}",
        "do a dataset from {source}",
        "clean {source} up",
        "wash {source}",
        "scrub {source}",
        "process {source} into a dataset",
        "prepare {source} as a dataset",
        "prepare a dataset from {source}",
        "prepare a training set from {source}",
        "get a dataset from {source}",
        "get a dataset out of {source}",
        "get a training set out of {source}",
        "make a dataset out of {source}",
        "make a training set out of {source}",
        "make a dataset of {source}",
        "build a dataset out of {source}",
        "turn {source} into training data",
        "turn {source} into a clean dataset",
        "convert {source} into a dataset",
        "convert {source} to a dataset",
        "take away the duplicates from {source}",
        "throw out the duplicates from {source}",
        "clean the data {source}",
        "clean and deduplicate {source}",
        "dataset out of {source}",
        "dataset of {source}",
        "split {source} into training and validation",
        "anonymize {source}",
        "prep {source}",
        "turn {source} into something we can train on",
        "turn {source} into something to train on",
        "turn {source} into training rows",
        "make {source} trainable",
        "make {source} usable for training",
        "get {source} into shape",
        "get {source} cleaned",
        "sanitise {source}",
        "sanitize {source}",
        "read {source} as a dataset",
        "import {source} as a dataset",
        "generate a dataset from {source}",
        "produce a dataset from {source}",
        "extract a dataset from {source}",
        "clean dataset from {source}",
        "clean version of {source}",
        "cleaned version of {source}",
        "deduplication of {source}",
        "preparation of {source}",
        "eliminate duplicates from {source}",
        "eliminate duplicates in {source}",
        "filter the rows of {source}",
        "clean the rows of {source}",
        "clean the file {source}",
        "throw the duplicates out of {source}",
        "build a clean dataset from {source}",
        "make a clean dataset from {source}",
        "make a clean dataset of {source}",
        "make clean data from {source}",
        "prepare the data in {source}",
        "prepare the file {source}",
        "put together a training set from {source}",
        "put together a dataset from {source}",
    ],
    preflight=_preflight,
    estimate=_estimate,
    reusable=lambda request: request.is_repeatable,
)
def curate(request: CurateRequest, ctx: StepContext) -> CurateResult:
    """Read a source, leave out what would spoil training, split by groups, and write chat-format JSONL.

    Conversations, texts and labels are written byte for byte as the source has them; they are normalised only
    where two are compared. Fields of the source that the dataset does not take are counted in `unused`. The
    source is read twice and never held, so it may be larger than the memory.

    Left out, each with its reason in dropped.jsonl: rows that cannot be read or have no answer, rows of the
    golden set (verbatim, normalised, nearly, misspelt, reordered, within a longer text, of a golden group),
    duplicates and near-duplicates, and where asked for rows of the same meaning. For the task `classify`,
    rows with the same words and different labels too; for others, several answers to one prompt stay.

    Example: `/curate source=tickets.csv near_duplicate_jaccard=0.85`
    """
    from ...data.card import make_card, write_card
    from ...data.dataset import DatasetWriter, write_report
    from . import gather
    from .on_ray import gpu
    from .stages import Tally, choose, write_rows

    gather.check_replay(request)
    if request.dedup == "gpu":
        raise NeedsError(gpu.not_run(request.near_duplicate_jaccard).message)
    source = gather.RowSource(request, ctx)
    golden = gather.golden_rows(request, ctx)
    meaning = _golden_meaning(request, golden, ctx)
    with ctx.artifacts.staging() as folder:
        with (
            DatasetWriter(folder, request.seed) as writer,
            _table(source.task, request, golden, folder, meaning, ctx) as table,
        ):
            drop = Tally(writer.drop, request.hides_personal_data)
            table.take_in(source.rows, drop, lambda: ctx.progress(1, _STAGES, "stages"))
            unused = dict(sorted(source.reading.unused.items()))
            verdicts, pairs = table.clean()
            alike = _leave_same_meaning(request, source, table, verdicts, ctx)
            ctx.progress(2, _STAGES, "stages")
            chosen = choose(table.keys, verdicts, pairs, request)
            ctx.progress(3, _STAGES, "stages")
            rows = source.rows(lambda dropped: None)
            written = write_rows(rows, table, verdicts, chosen, writer.add, drop)
            _check(written, source.task, request, drop.by_reason)
        ctx.progress(4, _STAGES, "stages")
        counts = Counts(source, table, chosen, written, drop, unused, len(verdicts.conflicts), meaning, alike)
        parents = [ref for ref in (request.golden, request.replay) if ref is not None]
        report = counts.report(request)
        write_report(folder, report)
        write_card(folder, make_card(report, written.profile, drop.examples, parents))
        dataset = ctx.artifacts.save(DatasetRef, folder, counts.facts, parents)
    counts.log(ctx)
    ctx.progress(5, _STAGES, "stages")
    return counts.result(dataset)


def compute_name(request: CurateRequest, settings: Settings) -> str:
    """Where rows are judged and compared: what is asked for, or else the setting's."""
    return request.compute or settings.compute.curate


def _table(
    task: Task,
    request: CurateRequest,
    golden: GoldenRows,
    folder: Path,
    meaning: GoldenMeaning | None,
    ctx: StepContext,
) -> RowTable | RayTable:
    """The rows as this machine or a cluster takes them in."""
    from .gather import own_answers

    own = own_answers(request, ctx)
    if compute_name(request, ctx.settings) == "ray":
        from .on_ray.table import RayTable

        return RayTable(task, request, golden, ctx, own)
    from .stages import RowTable

    return RowTable(task, request, golden, folder, own, meaning)


def _golden_meaning(request: CurateRequest, golden: GoldenRows, ctx: StepContext) -> GoldenMeaning | None:
    """What finds golden rows in other words, where that is asked for and there are some."""
    from .golden_meaning import GoldenMeaning

    if request.golden_embedder is None or not golden.texts:
        return None
    if compute_name(request, ctx.settings) == "ray":
        raise AskError(f"{_ONE_MACHINE.format('golden_embedder')} Curate with compute=local.")
    return GoldenMeaning(request.golden_embedder, golden, ctx)


def _leave_same_meaning(
    request: CurateRequest, source: RowSource, table: Table, verdicts: Verdicts, ctx: StepContext
) -> SameMeaning | None:
    """Leave out rows that mean what an earlier one does, where that is asked for."""
    if request.semantic_duplicates is None:
        return None
    if compute_name(request, ctx.settings) == "ray":
        raise AskError(f"{_ONE_MACHINE.format('semantic_duplicates')} Curate with compute=local.")
    from .same_meaning import leave_same_meaning

    rows = source.rows(lambda dropped: None)
    return leave_same_meaning(request.semantic_duplicates, rows, table, verdicts, ctx)


def _check(written: Written, task: Task, request: CurateRequest, dropped: Counter[str]) -> None:
    """AskError unless there is something to train on, and for labels two to tell apart."""
    n = written.sides.total()
    if n and (task != "classify" or len(written.labels) >= 2):
        return
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
    left_out = f" Left out: {reasons}." if reasons else ""
    if not n:
        raise AskError(f"no row of {request.source} is left to train on.{left_out}")
    raise AskError(
        f"all {n} rows of {request.source} have one label ('{next(iter(written.labels))[:80]}'): nothing to "
        f"tell apart. Check label_column, or set the task if these are no labels.{left_out}"
    )
