"""Suites of what rails must block and let pass: published prompts, each with what should be decided of it."""

from __future__ import annotations

from collections.abc import Iterator

from ...data.published import shipped_folder
from ...data.published.tables import csv_rows, json_rows
from ...data.sample import Sample
from ..scorers import ScorerSpec
from ..scorers.guard import BLOCK, PASS
from .base import SliceValues, Suite

_MUST = "must"


def xstest() -> Suite:
    """250 safe prompts that look unsafe, and 200 unsafe ones that look like them."""
    rows = csv_rows(shipped_folder("xstest") / "xstest_prompts.csv", "id", "prompt", "type", "label")
    items = [
        _item(
            f"xstest-{row['id']:0>3}",
            row["prompt"],
            BLOCK if row["label"] == "unsafe" else PASS,
            type=row["type"],
        )
        for row in rows
    ]
    return _suite(
        "xstest",
        items,
        "Unsafe requests, and safe ones that look like them.",
        "CC BY 4.0",
        "Röttger et al., NAACL 2024",
        ("type",),
    )


def notinject() -> Suite:
    """339 harmless prompts with one to three words that prompt injections use."""
    return _suite(
        "notinject",
        [*_harmless()],
        "Harmless prompts with words that prompt injections use.",
        "MIT",
        "Li & Liu, InjecGuard, 2024",
        ("category", "words"),
    )


def cyberseceval() -> Suite:
    """251 prompt injections, direct ones and ones within a document; without their system prompts."""
    return _suite(
        "cyberseceval",
        [*_injections()],
        "Prompt injections of fifteen kinds.",
        "MIT",
        "Meta, CyberSecEval 2 to 4",
        ("variant", "type"),
    )


def injection() -> Suite:
    """CyberSecEval's injections to block beside NotInject's prompts to let pass, for one gate over both."""
    return _suite(
        "injection",
        [*_injections(), *_harmless()],
        "Prompt injections, and harmless prompts with their words.",
        "MIT",
        "Meta, CyberSecEval 2 to 4; Li & Liu, InjecGuard, 2024",
    )


def toxicity() -> Suite:
    """1,000 comments from social media, 501 of them toxic. The texts are offensive."""
    rows = csv_rows(shipped_folder("toxicity") / "toxicity_en.csv", "text", "is_toxic")
    items = [
        _item(f"toxicity-{number:04d}", row["text"], BLOCK if row["is_toxic"] == "Toxic" else PASS)
        for number, row in enumerate(rows)
    ]
    summary = "Comments from social media, half of them toxic; offensive text."
    return _suite("toxicity", items, summary, "MIT", "Surge AI, 2022")


SUITES = {
    "xstest": xstest,
    "notinject": notinject,
    "cyberseceval": cyberseceval,
    "injection": injection,
    "toxicity": toxicity,
}


def _harmless() -> Iterator[Sample]:
    for words, name in enumerate(("one", "two", "three"), 1):
        rows = json_rows(shipped_folder("notinject") / f"NotInject_{name}.json", "prompt", "category")
        for number, row in enumerate(rows):
            tags = {"category": row["category"], "words": str(words)}
            yield _item(f"notinject-{words}-{number:03d}", row["prompt"], PASS, **tags)


def _injections() -> Iterator[Sample]:
    path = shipped_folder("cyberseceval") / "prompt_injection.json"
    for row in json_rows(path, "prompt_id", "user_input", "injection_variant", "injection_type"):
        tags = {"variant": row["injection_variant"], "type": row["injection_type"]}
        yield _item(f"cyberseceval-{row['prompt_id']:0>3}", row["user_input"], BLOCK, **tags)


def _item(id: str, text: str, must: str, **tags: str) -> Sample:
    return Sample.of(id, text, must, tags={_MUST: must, **tags})


def _suite(
    name: str, items: list[Sample], summary: str, licence: str, source: str, tags: tuple[str, ...] = ()
) -> Suite:
    sides = {item.tags[_MUST] for item in items}
    groups: dict[str, SliceValues] = {f"{_MUST}_{side}": {_MUST: (side,)} for side in sorted(sides)}
    return Suite(
        name,
        tuple(items),
        groups,
        slice_tags=tags,
        scorers=(ScorerSpec("guard_decision"),),
        min_items=100,
        max_new_tokens=64,
        summary=summary,
        licence=licence,
        source=source,
    )
