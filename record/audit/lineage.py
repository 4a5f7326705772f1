"""Lineage: which model a report judged and which a bundle serves, and what gates decided about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..judging import (
    REPORT,
    GateOutcome,
    is_model,
    kind_of,
    made_from,
    models_behind,
    models_judged,
    standing,
)

_JUDGED = ("bundle", REPORT)  # whose making says what a verdict is about


@dataclass(frozen=True)
class Making:
    """Where an artifact comes from: the intent of the step that made it, and what that step was given."""

    intent: int
    run: str
    given: tuple[str, ...]


@dataclass
class Lineage:
    """What artifacts were made of, by their manifests (whose digest is their name), else by the ledger."""

    artifacts: Path
    made: dict[str, Making] = field(default_factory=dict)
    judged: dict[str, list[GateOutcome]] = field(default_factory=dict)  # model -> its judgements, in order
    _given: dict[str, set[str]] = field(default_factory=dict)  # to the steps that made a bundle or a report
    _parents: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def parents(self, ref: str) -> tuple[str, ...]:
        """What an artifact was made of."""
        if ref not in self._parents:
            self._parents[ref] = self._manifest_parents(ref)
        found = self._parents[ref]
        if found is not None:
            return found
        return self.made[ref].given if ref in self.made else ()

    def make(self, ref: str, making: Making) -> None:
        """Take in that a step made an artifact, or took it over."""
        self.made.setdefault(ref, making)
        if kind_of(ref) in _JUDGED:
            self._given.setdefault(ref, set()).update(making.given)

    def made_from(self, ref: str) -> set[str]:
        """What a recorded step made an artifact from; nothing for what no record made."""
        given = self._given.get(ref, set())
        return made_from(given, self.parents(ref)) if given else given

    def training_of(self, report: str) -> Making | None:
        """Who trained the model that a report is about, as the ledger says."""
        waiting: set[str] = {report}
        for _ in range(10):
            checkpoints = sorted(name for name in waiting if name.startswith("checkpoint:"))
            if checkpoints:
                return self.made.get(checkpoints[0])
            waiting = {one for name in waiting for one in self._nearest(self.parents(name))}
        return None

    def judge(self, request: object, judgement: GateOutcome) -> None:
        """Take in what a gate decided about the models in its request, or behind the reports there."""
        for model in models_judged(request, self.made_from):
            self.judged.setdefault(model, []).append(judgement)

    def standing(self, served: str, run: str) -> Mapping[str, GateOutcome]:
        """The newest GO or NO_GO of each suite, for this run, about the model that is served."""
        models = models_behind(served, self.made_from)
        return standing((one for model in models for one in self.judged.get(model, ())), run)

    def _nearest(self, refs: Iterable[str]) -> set[str]:
        """The checkpoints and bundles behind these artifacts: the nearest on each branch."""
        found, seen, waiting = set[str](), set[str](), list(refs)
        while waiting:
            ref = waiting.pop()
            if ref in seen:
                continue
            seen.add(ref)
            if is_model(ref):
                found.add(ref)
            elif kind_of(ref) != "dataset":  # a model that made training data is not the model
                waiting += self.parents(ref)
        return found

    def _manifest_parents(self, ref: str) -> tuple[str, ...] | None:
        """The parents in an artifact's manifest; None when it is not there or not as it was recorded."""
        kind, _, digest = ref.partition(":")
        if len(digest) != 64 or not digest.isalnum() or not kind.replace("-", "").isalnum():
            return None
        try:
            data = (self.artifacts / kind / digest / "artifact.json").read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                return None
            return tuple(str(parent) for parent in json.loads(data)["parents"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
