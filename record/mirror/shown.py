"""A run as MLflow shows it, and where that differs from the page that the ledger makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .page import HASH, PAGE_TAGS, Page
from .tracking import NAME_TAG, NOTE_TAG, PARENT_TAG, cut_tag

_CURVE = "training."  # figures of a training log, which is an artifact of its own
_COMPARED = frozenset({NAME_TAG, NOTE_TAG, PARENT_TAG})


@dataclass(frozen=True)
class ShownRun:
    """One MLflow run: `seq` and `hash` are those of the record it says it shows (0: none)."""

    id: str
    key: str
    seq: int
    hash: str
    run_name: str
    status: str
    start_ms: int | None
    end_ms: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def title(self) -> str:
        """How faults call it."""
        what = self.key.partition("/")[2] or self.run_name
        return f"MLflow run {self.id[:12]} ({what})"


def differences(shown: ShownRun, page: Page, parent: str | None, given: bool) -> Iterator[str]:
    """Where MLflow's run differs from its page, as ends of a sentence.

    parent: the MLflow id of the run that a step is nested in. given: whether MLflow was brought beyond this
    record; else the page may lack something that is being written, but differ in nothing.
    """
    if shown.hash != page.tags[HASH]:
        has = page.tags[HASH][:16]
        yield f"it shows record {shown.seq} with hash {shown.hash[:16]}, the ledger has {has}"
        return
    expected = {**page.tags, NAME_TAG: page.name, NOTE_TAG: page.note}
    if parent is not None:
        expected[PARENT_TAG] = parent
    compared = {n: v for n, v in shown.tags.items() if n in PAGE_TAGS or n in expected or n in _COMPARED}
    yield from _unequal("tag", compared, {name: cut_tag(value) for name, value in expected.items()}, given)
    metrics = {name: value for name, value in shown.metrics.items() if not name.startswith(_CURVE)}
    yield from _unequal("param", shown.params, page.params, given)
    yield from _unequal("metric", metrics, {one.name: one.value for one in page.figures}, given)
    if shown.run_name != page.name:
        yield f"its name is '{shown.run_name}', the ledger says '{page.name}'"
    if shown.start_ms != page.start_ms:
        yield f"its start is {shown.start_ms} ms, the ledger says {page.start_ms}"
    if not given:
        return
    if shown.status != page.status:
        yield f"its status is {shown.status}, the ledger says {page.status}"
    if page.end_ms is not None and shown.end_ms != page.end_ms:
        yield f"its end is {shown.end_ms} ms, the ledger says {page.end_ms}"


def own_tags(shown: ShownRun, page: Page) -> set[str]:
    """Tags that people or other tools put on a run: the page neither has nor could have them."""
    return {
        name
        for name in shown.tags
        if name not in page.tags and name not in PAGE_TAGS and not name.startswith("mlflow.")
    }


def _unequal(
    what: str, shown: Mapping[str, object], expected: Mapping[str, object], given: bool
) -> Iterator[str]:
    for name in sorted(shown.keys() | expected.keys()):
        if shown.get(name) != expected.get(name) and (given or name in shown):
            yield f"{what} {name} is {_cut(shown.get(name))}, the ledger says {_cut(expected.get(name))}"


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
