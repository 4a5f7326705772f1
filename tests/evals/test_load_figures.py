"""Figures of a load test: which counts of tokens are believed, and which answers were served well."""

from __future__ import annotations

from typing import Any

import pytest

from opswright.evals.load.figures import is_served_well
from opswright.evals.load.streamed import RequestRecord, with_usage


@pytest.mark.parametrize(
    ("usage", "most", "counted_by"),
    [
        ({"completion_tokens": 5, "prompt_tokens": 3}, 8, "usage"),
        ({"completion_tokens": 9}, 8, "chunks"),
        ({"completion_tokens": True}, 8, "chunks"),
        ({"completion_tokens": 0}, 8, "chunks"),
        ([], 8, "chunks"),
        (None, 8, "chunks"),
    ],
)
def test_usage_is_believed_when_it_can_be(usage: Any, most: int, counted_by: str) -> None:
    record = RequestRecord(0.0, 0, tokens_out=3, counted_by="chunks", text="abc")
    assert with_usage(record, usage, most).counted_by == counted_by


def test_a_prompt_of_no_possible_length_is_not_believed() -> None:
    usage = {"completion_tokens": 3, "prompt_tokens": 10**4299}  # two of them are more than JSON can hold
    assert with_usage(RequestRecord(0.0, 0, tokens_out=3), usage, 8).tokens_in is None


def test_goodput_counts_only_what_met_every_limit() -> None:
    record = RequestRecord(0.0, 0, ttft_ms=100, e2el_ms=400, tokens_out=4, counted_by="usage")
    assert is_served_well(record, {"ttft_ms": 100, "tpot_ms": 100})
    assert not is_served_well(record, {"ttft_ms": 99}) and not is_served_well(record, {"tpot_ms": 99})
    assert not is_served_well(RequestRecord(0.0, 0, error="cut"), {})
