from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from opswright.core.errors import AskError
from opswright.skills.golden import GoldenRequest, golden


def test_a_golden_set_holds_the_suites_items_and_nothing_to_train_on(context: Any) -> None:
    ctx = context()
    result = golden(GoldenRequest(suite="clinc150", domains=("meta", "banking")), ctx)
    artifact = ctx.artifacts.open(result.dataset)
    assert result.items == artifact.facts["rows"] == 900 and artifact.facts["train_rows"] == 0
    assert (artifact.path / "train.jsonl").read_bytes() == b""
    rows = pl.read_parquet(artifact.path / "rows.parquet")
    assert rows["split"].unique().to_list() == ["golden"] and set(rows["domain"]) == {"meta", "banking"}


def test_the_same_suite_gives_the_same_artifact(context: Any) -> None:
    ask = GoldenRequest(suite="clinc150")
    assert golden(ask, context("a")).dataset == golden(ask, context("b")).dataset


def test_a_suite_without_domains_works_too_and_unknown_ones_are_refused(context: Any) -> None:
    assert golden(GoldenRequest(suite="banking77"), context()).items == 3080
    with pytest.raises(AskError, match="Did you mean 'banking'"):
        golden(GoldenRequest(suite="clinc150", domains=("bankin",)), context())
