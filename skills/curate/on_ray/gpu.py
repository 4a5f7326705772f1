"""Deduplication by RAPIDS on GPUs: what NeMo Curator would be asked for. Compiled, never run by Opswright."""

from __future__ import annotations

from ....core.contract import Finding
from ....data.shingles import SHINGLE_CHARS
from ....data.similar import bands_and_rows

WORKFLOW = "nemo_curator.stages.deduplication.fuzzy.workflow.FuzzyDeduplicationWorkflow"


def workflow_arguments(near: float) -> dict[str, str | int]:
    """What the workflow is given beside its paths: shingles and bands as on CPUs."""
    bands, rows = bands_and_rows(near)
    return {
        "input_filetype": "parquet",
        "text_field": "form",
        "char_ngrams": SHINGLE_CHARS,
        "num_bands": bands,
        "minhashes_per_band": rows,
    }


def not_run(near: float) -> Finding:
    """The finding that stops a plan that asks for it."""
    asked = ", ".join(f"{name}={value!r}" for name, value in workflow_arguments(near).items())
    return Finding(
        level="stop",
        message=f"dedup: gpu is compiled and not run. NeMo Curator would be asked for {WORKFLOW}({asked}), "
        "which needs RAPIDS and NVIDIA GPUs and leaves out whole groups that MinHash proposes, unverified: "
        "other rows than dedup: cpu.",
        fix="Leave dedup at cpu; compute: ray runs it on many machines.",
    )
