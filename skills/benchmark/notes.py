"""What a reader of benchmark figures must know, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .request import BenchmarkRequest

if TYPE_CHECKING:
    from ...evals.load.identity import ServerIdentity

_TAIL = 100  # whole answers below which a 99th percentile is little more than the slowest


def notes_of(
    request: BenchmarkRequest, identity: ServerIdentity, figures: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """How tokens were counted where the server did not, what failed, and how long answers were."""
    by = {name for level in figures for name in level["counted_by"]}
    faults: dict[str, int] = {}
    for level in figures:
        for fault, n in level["usage_faults"].items():
            faults[fault] = faults.get(fault, 0) + n
    if untold := faults.pop("none", 0):
        yield f"the server gave no usage for {untold} answers"
    if faults:
        yield f"the server's usage was wrong for {sum(faults.values())} answers ({next(iter(faults))})"
    if "tokenizer" in by:
        yield f"where usage is missing, the tokenizer of {request.tokenizer} counted the text"
    if "chunks" in by:
        yield (
            "where usage is missing, chunks were counted; one may hold several tokens, so tokens per second "
            "are at least what is shown (give `tokenizer`)"
        )
    for level in figures:
        if level["errors"]:
            kinds = ", ".join(f"{n} {kind}" for kind, n in level["errors"].items())
            yield f"at {level['concurrency']}, of {level['requests']} requests failed: {kinds}"
        if level["retry_after_s"]:
            yield f"at {level['concurrency']}, {level['retry_after_s']:.1f} s were waited as Retry-After asks"
        if level["completed"] < _TAIL:
            few = f"at {level['concurrency']}, p99 is of {level['completed']} answers"
            yield f"{few}: little more than the slowest"
    if not identity.fixes_length:
        completed = sum(level["completed"] for level in figures)
        mean = sum(level["output_tokens"] for level in figures) / completed if completed else 0
        if mean < request.output_tokens:
            yield (
                f"answers end by themselves, after {mean:.1f} of {request.output_tokens} tokens on average: "
                "this server is not known to take ignore_eos"
            )
