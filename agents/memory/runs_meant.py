"""Which runs a question means by a version, by a verdict or by their order: "v2", "the refused model"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.errors import IntegrityError
from ...record.run_state import RunState

_MOST = 4  # runs that are looked at first
_KEPT = 5_000  # runs that are told apart, the newest and the first
_FINISHED = ("done", "reused")
_RUN = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b")
_VERSION = re.compile(r"\bv\d{1,6}\b")
_ORDER = {"first": 0, "1st": 0, "original": 0, "initial": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2,
          "fourth": 3, "4th": 3, "fifth": 4, "5th": 4}  # fmt: skip
_NEWEST = "last latest newest current recent final"
_SKILLS = {  # what a run must have done to have such a thing
    "model": "finetune", "checkpoint": "finetune", "training": "finetune",
    "classifier": "finetune", "network": "finetune", "trained": "finetune", "dataset": "curate",
    "data": "curate", "corpus": "curate", "evaluation": "evaluate", "engine": "build-engine",
    "bundle": "build-engine", "release": "deploy", "version": "deploy", "deployment": "deploy",
    "deployed": "deploy", "guardrails": "guardrails", "rails": "guardrails", "drift": "drift",
    "alarm": "drift", "retraining": "finetune", "run": "", "pipeline": "", "plan": "", "one": "", "try": "",
    "report": "",
}  # fmt: skip
_NOUNS = "|".join(_SKILLS)
_BY_ORDER = re.compile(
    rf"\b({'|'.join(_ORDER)}|{'|'.join(_NEWEST.split())})\s+(?:\w+\s+){{0,2}}?({_NOUNS})s?\b"
)
_REFUSED = re.compile(
    r"\b(refused|rejected|turned down|thrown away|not (?:good enough|passed|released|shipped|deployed))\b"
)
_ACCEPTED = re.compile(r"\b(accepted|let through|passed|cleared|promoted)\b")
_SERVED = re.compile(r"\b(live|served|serving|stable|in production|answering users|serve)\b")
_RETRAINED = re.compile(r"\bre-?train(ed|ing)\b")


@dataclass(frozen=True)
class RunFacts:
    """What tells a run from others. seq: of its first record; releases: that it put on an endpoint."""

    run: str
    seq: int
    skills: tuple[str, ...]
    verdict: str = ""
    releases: tuple[str, ...] = ()
    goes_on: bool = False

    @classmethod
    def of(cls, state: RunState) -> RunFacts | None:
        """Of a run as it is now; None for one that was never proposed."""
        if state.proposed is None:
            return None
        done = [one for one in state.steps.values() if one.records and one.records[-1].phase in _FINISHED]
        releases = [str(one.result["release"]) for one in done if one.result.get("release")]
        return cls(
            run=state.run,
            seq=state.first.seq,
            skills=tuple(dict.fromkeys(one.skill for one in done)),
            verdict=state.verdict or "",
            releases=tuple(dict.fromkeys(releases)),
            goes_on=any(str(one.request.get("base", "")).startswith("checkpoint:") for one in done),
        )


class KnownRuns:
    """The runs of an index, by name. Not believed: they say which passages are looked at first."""

    def __init__(self, runs: Mapping[str, RunFacts] | None = None) -> None:
        self._runs = dict(runs or {})

    def note(self, facts: RunFacts | None) -> None:
        """Take in what is known of a run now."""
        if facts is not None and (facts.run in self._runs or len(self._runs) < _KEPT):
            self._runs[facts.run] = facts

    @property
    def are_none(self) -> bool:
        """Whether there is no run."""
        return not self._runs

    def meant(self, question: str) -> tuple[str, ...]:
        """The runs that a question in English means, at most four; none where it names no run."""
        said = " ".join(question.casefold().split())
        if named := [run for run in _RUN.findall(said) if run in self._runs]:
            return tuple(named[:_MOST])
        runs = sorted(self._runs.values(), key=lambda one: one.seq)
        versions = set(_VERSION.findall(said))
        if versions and (of := [one for one in runs if _put(one) & versions]):
            return _names(of)
        if _RETRAINED.search(said):
            runs = [one for one in runs if one.goes_on] or runs
        if (ordered := _BY_ORDER.search(said)) is not None:
            skill = _SKILLS[ordered[2]]
            done = [one for one in runs if not skill or skill in one.skills]
            at = _ORDER.get(ordered[1], -1)
            return _names(done[at : at + 1] if at >= 0 else done[-1:])
        if _REFUSED.search(said) and (of := [one for one in runs if one.verdict == "NO_GO"]):
            return _names(of)
        if _ACCEPTED.search(said) and (of := [one for one in runs if one.verdict == "GO"]):
            return _names(of)
        if _SERVED.search(said) and (of := [one for one in runs if one.releases]):
            return _names(of[-1:])
        return ()

    def save(self, path: Path) -> None:
        """Write them to a file, as JSON."""
        path.write_text(json.dumps([asdict(one) for one in self._runs.values()]), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> KnownRuns:
        """Read them from a file; IntegrityError for one that holds none."""
        try:
            told = [
                RunFacts(**{**one, "skills": tuple(one["skills"]), "releases": tuple(one["releases"])})
                for one in json.loads(path.read_text(encoding="utf-8"))
            ]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"{path} holds no runs: {error}. It is made anew.") from error
        return cls({one.run: one for one in told})


def _put(one: RunFacts) -> set[str]:
    return {release.partition("-")[0] for release in one.releases}


def _names(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    return tuple(one.run for one in runs[-_MOST:][::-1])
