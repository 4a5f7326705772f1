"""Gathers what goes into a dataset into one table: the new rows, then those replayed from an earlier one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ...core.artifacts import Artifact
from ...core.contract import StepContext
from ...core.errors import AskError, did_you_mean
from ...data.rows import Gathered
from .request import CurateRequest

if TYPE_CHECKING:
    import polars as pl


def check_replay(request: CurateRequest) -> None:
    """AskError when only one of replay and replay_ratio is given."""
    if (request.replay is None) != (request.replay_ratio == 0):
        raise AskError(
            "replay and replay_ratio go together: give both (1 adds a row of replay for each new row)."
        )


def of_domains(gathered: Gathered, request: CurateRequest) -> pl.DataFrame:
    """The new rows, of the domains asked for; AskError for a domain that the source does not have."""
    import polars as pl

    table = gathered.frame()
    known = table["domain"].drop_nulls().unique().sort().to_list()
    for domain in request.domains:
        if domain not in known:
            has = f"it has: {', '.join(known)}" if known else "its rows have none; name a domain_column"
            raise AskError(
                f"domain '{domain}' is not in {request.source} ({has}).{did_you_mean(domain, known)}"
            )
    return table.filter(pl.col("domain").is_in(request.domains)) if request.domains else table


def with_replay(new: pl.DataFrame, request: CurateRequest, ctx: StepContext) -> pl.DataFrame:
    """The new rows, then as many of the earlier dataset as may be wanted; `side` is null for new rows."""
    import polars as pl

    table = new.with_columns(pl.lit(None, pl.String).alias("side"))
    if request.replay is None:
        return table
    earlier = replay_order(ctx.artifacts.open(request.replay), request.seed)
    wanted = round(request.replay_ratio * len(new))
    if wanted > len(earlier):
        ctx.log(f"replay has {len(earlier)} rows, {wanted} were asked for: all of them are taken")
    return pl.concat([table, earlier.head(wanted)])


def replay_order(dataset: Artifact, seed: int) -> pl.DataFrame:
    """A dataset's rows, labels taking turns, so that any beginning of it holds every label alike.

    Columns as `Gathered.frame`, and `side`: the side of the split that each row was on.
    """
    import polars as pl

    rows = pl.read_parquet(dataset.path / "rows.parquet").with_row_index("row", offset=1)
    rows = rows.filter(pl.col("split").is_in(["train", "validation"]))
    if rows.is_empty():
        raise AskError(f"{dataset.ref.short} has no training rows to replay. Give a curated dataset.")
    keys = [hashlib.sha256(f"{seed}:{row}".encode()).hexdigest() for row in rows["row"].to_list()]
    rows = rows.with_columns(pl.Series("key", keys)).sort("key")
    rows = rows.with_columns(pl.int_range(pl.len()).over("label").alias("turn")).sort("turn", "key")
    return rows.select(
        pl.lit(f"replay {dataset.ref.short}").alias("source"),
        pl.col("row").cast(pl.Int64),
        "text",
        "label",
        "domain",
        pl.lit(None, pl.String).alias("tied"),
        pl.col("split").alias("side"),
    )


def trim_replay(table: pl.DataFrame, kept: list[int], ratio: float) -> list[int]:
    """The kept rows with no more replayed ones than `ratio` for each new one."""
    sides = table["side"].to_list()
    new = [i for i in kept if sides[i] is None]
    return new + [i for i in kept if sides[i] is not None][: round(ratio * len(new))]


def golden_texts(request: CurateRequest, ctx: StepContext) -> list[str]:
    """The texts that must not leak."""
    if request.golden is None:
        return []
    import polars as pl

    rows = pl.read_parquet(ctx.artifacts.open(request.golden).path / "rows.parquet", columns=["text"])
    return list(rows["text"].to_list())
