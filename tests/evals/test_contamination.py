from __future__ import annotations

from opswright.evals.contamination import count_overlap


def test_overlap_is_counted_verbatim_first_then_normalised() -> None:
    train = ["pay my bill", "what time is it", "unrelated"]
    assert count_overlap(train, ["pay my bill", "What time is it?", "new"]) == {
        "verbatim": 1,
        "normalised": 1,
    }
