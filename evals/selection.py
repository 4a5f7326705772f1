"""Weights that a suite's score chose: what was asked is kept, so that no gate judges by the same items.

The best of several tries on some items is better on those than anywhere else. So a suite that chose is no
evidence, and what a golden set holds back must not choose.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.artifact_refs import DatasetRef
from ..core.artifacts import Artifact, ArtifactStore
from ..core.errors import AskError
from ..data.dataset import ROWS, dataset_samples
from ..data.sample import asked_of
from ..data.text import fingerprint
from .contamination import MatchKind, find_alike
from .lineage import ancestors
from .suites import Suite

SELECTION = "selection.json"
_HELD_OUT = "golden"


def selection_document(suite: Suite, scores: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """What a checkpoint says of the suite that chose it: its name, what it asked, each checkpoint's score.

    The questions are kept as they are: only a text shows whether another is nearly the same.
    """
    return {
        "suite": suite.name,
        "digest": suite.digest,
        "metric": suite.specs[0].metric,
        "scores": [{"step": step, "value": value} for step, value in scores],
        "questions": sorted({asked_of(item) for item in suite.items}),
    }


def chosen_by(selections: Iterable[Mapping[str, Any]], texts: Sequence[str]) -> Counter[MatchKind]:
    """How many of these questions chose a model's weights, in this training or one before it, by how alike.

    A question that is a little changed counts as one in training does. Of a training whose record has digests
    alone, only questions of the same words are known again.
    """
    kept = list(selections)
    found = find_alike(sorted({text for one in kept for text in one.get("questions", ())}), texts)
    marks = {mark for one in kept for mark in one.get("asked", ())}
    for place, text in enumerate(texts):
        if marks and _mark(text) in marks:
            found.setdefault(place, MatchKind.NORMALISED)
    return Counter(found.values())


def in_words(chosen: Counter[MatchKind]) -> str:
    """How alike questions are to those that chose, as "12 verbatim, 3 misspelt"; the surest way first."""
    return ", ".join(f"{chosen[kind]:,} {kind.replace('_', ' ')}" for kind in MatchKind if chosen[kind])


def selections_of(checkpoints: Iterable[Artifact]) -> list[dict[str, Any]]:
    """The selections that checkpoints, or adapters, say of themselves."""
    return [one.read_json(SELECTION) for one in checkpoints if SELECTION in one.files]


def check_may_choose(store: ArtifactStore, data: DatasetRef, suite: Suite) -> None:
    """AskError when a suite asks what a golden set of the dataset, or of what it was made of, holds out."""
    asked = [asked_of(item) for item in suite.items]
    for ref in (one for one in ancestors(store, data) if isinstance(one, DatasetRef)):
        golden = store.open(ref)
        if ROWS not in golden.files:
            continue
        held_out = [asked_of(sample) for sample in dataset_samples(golden, _HELD_OUT)]
        if held_out and (found := len(find_alike(held_out, asked))):
            raise AskError(
                f"{found} of the {len(asked)} items of suite {suite.name} are in {ref.short}, the golden set "
                f"that {data.short} holds out. What chooses the weights cannot judge them too: name a suite "
                "of other items, or leave keep_by out, so that the validation loss chooses."
            )


def _mark(text: str) -> str:
    """A question as it is known again: a digest of its words, whatever their case and spaces."""
    return hashlib.sha256(fingerprint(text).encode()).hexdigest()[:32]
