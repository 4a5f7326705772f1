"""The samples that ragas comes with, as suites: questions about documents, and support tickets to sort."""

from __future__ import annotations

import json

from ...data.published import shipped_folder
from ...data.published.tables import csv_rows
from ...data.sample import Sample
from ..prompts import Prompt
from .base import Suite

FOLDER = shipped_folder("ragas")
_SOURCE = "ragas (explodinggradients), 2025"
_LICENCE = "Apache 2.0"


def questions() -> Suite:
    """65 questions about the documents of Hugging Face; one without an answer in the source is left out."""
    rows = csv_rows(FOLDER / "hf_doc_qa_eval.csv", "question", "expected_answer")
    return Suite(
        "ragas_questions",
        tuple(
            Sample.of(f"ragas-questions-{number:02d}", row["question"], row["expected_answer"])
            for number, row in enumerate(rows)
            if row["expected_answer"]
        ),
        task="generate",
        min_items=20,
        max_new_tokens=64,
        summary="Questions about the documents of Hugging Face, without the documents.",
        licence=_LICENCE,
        source=_SOURCE,
    )


def tickets() -> Suite:
    """20 support tickets, each with its labels, in alphabetical order, and its priority as JSON."""
    rows = csv_rows(FOLDER / "support_triage.csv", "id", "text", "labels", "priority")
    sorted_by = [sorted(row["labels"].split(";")) for row in rows]
    labels = sorted({label for some in sorted_by for label in some})
    asked = (
        f'Sort the ticket. Answer with JSON alone: {{"labels": [...], "priority": "P0" to "P2"}}. '
        f"The labels are {', '.join(labels)}; give those that fit, in alphabetical order."
    )
    items = [
        Sample.of(
            f"ragas-tickets-{row['id']:0>2}",
            row["text"],
            json.dumps({"labels": some, "priority": row["priority"]}),
            tags={"priority": row["priority"]},
        )
        for row, some in zip(rows, sorted_by, strict=True)
    ]
    return Suite(
        "ragas_tickets",
        tuple(items),
        task="extract",
        prompt=Prompt(system=asked),
        slice_tags=("priority",),
        min_items=20,
        max_new_tokens=64,
        summary="Support tickets to sort: labels and priority as JSON.",
        licence=_LICENCE,
        source=_SOURCE,
    )
