"""Lineage: which model a report judged and which a bundle serves, and what gates decided about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.gate import Decision

_MODELS = ("bundle", "checkpoint")


def is_model(ref: str) -> bool:
    """Whether a reference is to something that can be served and judged."""
    return ref.partition(":")[0] in _MODELS


@dataclass(frozen=True)
class Making:
    """Where an artifact comes from: the intent of the step that made it, and what that step was given."""

    intent: int
    run: str
    given: tuple[str, ...]


@dataclass(frozen=True)
class GateOutcome:
    """A gate's decision: the record that holds it, the suite, what was decided, and in which run.

    approved: whether somebody had approved the run's plan: a gate that anyone ran for themselves, with
    whatever bars, opens no door to other runs.
    """

    seq: int
    suite: str
    decision: str
    run: str
    approved: bool


@dataclass
class Lineage:
    """What artifacts were made of, by their manifests (whose digest is their name), else by the ledger."""

    artifacts: Path
    made: dict[str, Making] = field(default_factory=dict)
    judged: dict[str, list[GateOutcome]] = field(default_factory=dict)  # model -> its judgements, in order
    _parents: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def parents(self, ref: str) -> tuple[str, ...]:
        """What an artifact was made of."""
        if ref not in self._parents:
            self._parents[ref] = self._manifest_parents(ref)
        found = self._parents[ref]
        if found is not None:
            return found
        return self.made[ref].given if ref in self.made else ()

    def models_of_report(self, ref: str) -> set[str]:
        """The checkpoints and bundles that a report is about: the nearest on each branch."""
        return self._nearest(self.parents(ref), _MODELS)

    def models_of_bundle(self, ref: str) -> set[str]:
        """A bundle, the bundles it was made from, and the checkpoint behind them; a checkpoint itself."""
        found, waiting = {ref}, [ref] if ref.startswith("bundle:") else []
        while waiting:
            near = self._nearest(self.parents(waiting.pop()), _MODELS) - found
            found |= near
            waiting += [name for name in near if name.startswith("bundle:")]
        return found

    def training_of(self, report: str) -> Making | None:
        """Who trained the model that a report is about, as the ledger says."""
        waiting: set[str] = {report}
        for _ in range(10):
            checkpoints = sorted(name for name in waiting if name.startswith("checkpoint:"))
            if checkpoints:
                return self.made.get(checkpoints[0])
            waiting = {one for name in waiting for one in self._nearest(self.parents(name), _MODELS)}
        return None

    def judge(self, request: Iterable[object], judgement: GateOutcome) -> None:
        """Take in what a gate decided about the models in its request, or behind the reports there."""
        refs = [value for value in request if isinstance(value, str) and ":" in value]
        reports = [ref for ref in refs if ref.startswith("eval-report:")]
        models = {ref for ref in refs if is_model(ref)}
        for model in models.union(*map(self.models_of_report, reports)):
            self.judged.setdefault(model, []).append(judgement)

    def standing(self, served: str, run: str) -> Mapping[str, GateOutcome]:
        """The newest GO or NO_GO of each suite, for this run, about the model that is served."""
        found: dict[str, GateOutcome] = {}
        for model in self.models_of_bundle(served):
            for judgement in self.judged.get(model, ()):
                before = found.get(judgement.suite)
                counts = judgement.approved or judgement.run == run
                counts = counts and judgement.decision in (Decision.GO, Decision.NO_GO)
                if counts and (before is None or before.seq < judgement.seq):
                    found[judgement.suite] = judgement
        return found

    def _nearest(self, refs: Iterable[str], kinds: tuple[str, ...]) -> set[str]:
        found, seen, waiting = set[str](), set[str](), list(refs)
        while waiting:
            ref = waiting.pop()
            if ref in seen:
                continue
            seen.add(ref)
            if ref.partition(":")[0] in kinds:
                found.add(ref)
            elif ref.partition(":")[0] != "dataset":  # a model that made training data is not the model
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
