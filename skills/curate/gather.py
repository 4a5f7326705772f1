"""Gathers what goes into a dataset: the new rows, then those replayed from an earlier one, one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...core.artifact_refs import DatasetRef
from ...core.artifacts import Artifact
from ...core.contract import StepContext
from ...core.errors import AskError, did_you_mean
from ...core.files import files_below
from ...core.workspace import Workspace
from ...data.dataset import ROWS, dataset_samples
from ...data.personal import mask, mask_sample, masked_group
from ...data.read import DOMAIN, read_samples
from ...data.remote import fetch
from ...data.rows import Dropped
from ...data.sample import Sample, asked_of
from .own_answers import OwnAnswers
from .request import CurateRequest

if TYPE_CHECKING:
    import polars as pl


class GatheredRow(NamedTuple):
    """A sample, the file and row it stands in, and the side of the split that a replayed one was on."""

    file: str
    row: int
    sample: Sample
    side: str | None = None

    @property
    def name(self) -> str:
        """How reports call the row."""
        return f"{self.file} row {self.row}"


class RowSource:
    """The rows of a request, in order; each pass reads them again, so that none is held.

    All passes must see the same: AskError when a file of the source changed meanwhile.
    """

    def __init__(self, request: CurateRequest, ctx: StepContext) -> None:
        self._request, self._ctx = request, ctx
        self._left: Callable[[Dropped], None] = lambda dropped: None
        self._path, self.sha256 = _local(request, ctx)
        self.reading = read_samples(request.rows(self._path), lambda dropped: self._left(dropped))
        self.task = self.reading.task
        self._stamps = _stamps(self._path)
        self.masked = 0  # new rows in which something was masked, in the last pass
        self.new = 0  # new rows, of the domains asked for, in the last pass

    def rows(self, drop: Callable[[Dropped], None]) -> Iterator[GatheredRow]:
        """Every row; those that cannot be read are given to `drop`."""
        self._left, self.masked = drop, 0
        self.new, domains, known = 0, set(self._request.domains), set[str]()
        for file, row, sample in self.reading.located():
            if domains:
                domain = sample.tags.get(DOMAIN)
                known |= {domain} if domain is not None else set()
                if domain not in domains:
                    continue
            self.new += 1
            if self._request.personal_data == "mask":
                masked = mask_sample(sample)
                if masked.id != sample.id:  # masked ids would all be the same
                    masked = replace(masked, id=f"{file}:{row}")
                self.masked += masked != sample
                sample = masked
            yield GatheredRow(file, row, sample)
        if domains:
            self._check_domains(known)
        if _stamps(self._path) != self._stamps:
            raise AskError(
                f"{self._request.source} changed while it was read. Curate it when nothing writes to it."
            )
        if (replay := self._request.replay) is not None:
            yield from self._replayed(replay)

    def _check_domains(self, known: set[str]) -> None:
        """AskError for a domain that the source does not have."""
        for domain in self._request.domains:
            if domain not in known:
                names, source = sorted(known), self._request.source
                has = f"it has: {', '.join(names)}" if names else "its rows have none; name a domain_column"
                raise AskError(f"domain '{domain}' is not in {source} ({has}).{did_you_mean(domain, names)}")

    def _replayed(self, replay: DatasetRef) -> Iterator[GatheredRow]:
        """As many rows of the earlier dataset as may be wanted."""
        dataset = self._ctx.artifacts.open(replay)
        order = replay_order(dataset, self._request.seed)
        wanted = round(self._request.replay_ratio * self.new)
        if wanted > len(order):
            self._ctx.log(f"replay has {len(order)} rows, {wanted} were asked for: all of them are taken")
        chosen = order.head(wanted)
        place = {row: at for at, row in enumerate(chosen["row"].to_list())}
        samples: list[Sample | None] = [None] * len(place)
        for row, sample in enumerate(dataset_samples(dataset), 1):
            if row in place:
                samples[place[row]] = sample
        name = f"replay {dataset.ref.short}"
        for row, side, held in zip(chosen["row"], chosen["split"], samples, strict=True):
            if held is not None:
                yield GatheredRow(name, row, held, side)


def remote_store(workspace: Workspace) -> Path:
    """Where what was fetched lies, under its digest."""
    return workspace.root / "sources"


def _local(request: CurateRequest, ctx: StepContext) -> tuple[Path, str]:
    """Where the source lies on this machine, and the digest of one that was fetched."""
    if isinstance(request.source, Path):
        return request.source, ""
    fetched_bytes = 0

    def seen(size: int) -> None:
        nonlocal fetched_bytes
        fetched_bytes += size
        ctx.progress(fetched_bytes, None, "bytes fetched")

    found = fetch(request.source, remote_store(ctx.workspace), request.source_sha256, request.split, seen)
    ctx.log(f"{request.source}: SHA-256 {found.sha256}")
    return found.path, found.sha256


def _stamps(source: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file of a source."""
    files = files_below(source) if source.is_dir() else {source.name: source}
    found = ((name, path.stat()) for name, path in sorted(files.items()))
    return [(name, one.st_size, one.st_mtime_ns) for name, one in found]


def check_replay(request: CurateRequest) -> None:
    """AskError when only one of replay and replay_ratio is given."""
    if (request.replay is None) != (request.replay_ratio == 0):
        raise AskError(
            "replay and replay_ratio go together: give both (1 adds a row of replay for each new row)."
        )


def replay_order(dataset: Artifact, seed: int) -> pl.DataFrame:
    """A dataset's rows, labels taking turns, so that any beginning of it holds every label alike.

    Columns: row (from 1) and split.
    """
    import polars as pl

    rows = pl.read_parquet(dataset.path / ROWS, columns=["label", "split"]).with_row_index("row", offset=1)
    rows = rows.filter(pl.col("split").is_in(["train", "validation"]))
    if rows.is_empty():
        raise AskError(f"{dataset.ref.short} has no training rows to replay. Give a curated dataset.")
    keys = [hashlib.sha256(f"{seed}:{row}".encode()).hexdigest() for row in rows["row"].to_list()]
    rows = rows.with_columns(pl.Series("key", keys)).sort("key")
    rows = rows.with_columns(pl.int_range(pl.len()).over("label").alias("turn")).sort("turn", "key")
    return rows.select("row", "split")


class GoldenRows(NamedTuple):
    """What must not leak: what is asked, and the groups of those that have one."""

    texts: Sequence[str] = ()
    groups: Set[str] = frozenset()


def golden_rows(request: CurateRequest, ctx: StepContext) -> GoldenRows:
    """The texts and groups of the golden set, as they are and as they would be masked."""
    if request.golden is None:
        return GoldenRows()
    texts, groups = [], set()
    for sample in dataset_samples(ctx.artifacts.open(request.golden)):
        texts.append(asked_of(sample))
        if sample.group is not None:
            groups |= {sample.group, masked_group(sample.group)}
    return GoldenRows(texts, groups)


def own_answers(request: CurateRequest, ctx: StepContext) -> OwnAnswers:
    """What the workspace's endpoints answered, to be found in the rows as they are gathered."""
    form = mask if request.personal_data == "mask" else str
    return OwnAnswers(ctx, (request.memory_mb << 20) // 4, request.own_answers == "drop", form)
