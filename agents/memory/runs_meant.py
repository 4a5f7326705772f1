"""Which runs a question means by a version, by a verdict or by their order: "v2", "the refused model"."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...core.artifact_refs import REF_TYPES
from ...core.errors import IntegrityError
from ...record.run_state import RunState

_MOST = 4  # runs that are looked at first
_KEPT = 5_000  # runs that are told apart, the newest and the first
_FINISHED = ("done", "reused")
_RUN = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{6}\b")
_VERSION = re.compile(r"\bv\d{1,6}\b")
_ORDER = {"first": 0, "1st": 0, "original": 0, "initial": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2,
          "fourth": 3, "4th": 3, "fifth": 4, "5th": 4}  # fmt: skip
_RELEASE = "release"
_NEWEST = "last latest newest current recent final"
_MODEL = "model"
_ALSO = {  # nouns besides the kinds of artifacts and what people call them; None: of any run
    "training": _MODEL, "trained": _MODEL, "retraining": _MODEL, "classifier": _MODEL, "network": _MODEL,
    "corpus": "data", "version": _RELEASE, "deployment": _RELEASE, "deployed": _RELEASE, _RELEASE: _RELEASE,
    "run": None, "pipeline": None, "plan": None, "one": None, "try": None,
}  # fmt: skip
_REFUSED = re.compile(
    r"\b(refused|rejected|turned down|thrown away|not (?:good enough|passed|released|shipped|deployed))\b"
)
_ACCEPTED = re.compile(r"\b(accepted|let through|passed|cleared|promoted)\b")
_SERVED = re.compile(r"\b(live|served|serving|stable|in production|answering users|serve)\b")
_RETRAINED = re.compile(r"\bre-?train(ed|ing)\b")


@dataclass(frozen=True)
class RunFacts:
    """What tells a run from others. seq: of its first record; releases: that it put on an endpoint.

    made: kinds of the artifacts that its steps gave.
    """

    run: str
    seq: int
    made: tuple[str, ...]
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
            made=tuple(dict.fromkeys(kind for one in done for kind in _kinds_in(one.result))),
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
        nouns = _nouns()
        if (ordered := _by_order(tuple(nouns)).search(said)) is not None:
            kinds = nouns[ordered[2]]
            done = [one for one in runs if not kinds or _has(one, kinds)]
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
                RunFacts(**{**one, "made": tuple(one["made"]), "releases": tuple(one["releases"])})
                for one in json.loads(path.read_text(encoding="utf-8"))
            ]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"{path} holds no runs: {error}. It is made anew.") from error
        return cls({one.run: one for one in told})


def _kinds_in(result: Mapping[str, Any]) -> Iterator[str]:
    """The kinds of the artifacts that a result refers to."""
    for value in result.values():
        if isinstance(value, str) and (kind := value.partition(":")[0]) in REF_TYPES:
            yield kind


def _nouns() -> dict[str, frozenset[str]]:
    """What a run may be named by, and the kinds of which it must have made one; none: any run is meant."""
    found: dict[str, set[str]] = {}
    for kind, ref in REF_TYPES.items():
        for noun in (kind, *ref.spoken):
            found.setdefault(noun, set()).add(kind)
    for noun, like in _ALSO.items():
        found[noun] = set() if like is None else found.get(like, {like})
    return {noun: frozenset(kinds) for noun, kinds in found.items()}


@cache
def _by_order(nouns: tuple[str, ...]) -> re.Pattern[str]:
    named = "|".join(map(re.escape, sorted(nouns, key=len, reverse=True)))
    return re.compile(
        rf"\b({'|'.join(_ORDER)}|{'|'.join(_NEWEST.split())})\s+(?:\w+\s+){{0,2}}?({named})s?\b"
    )


def _has(one: RunFacts, kinds: Collection[str]) -> bool:
    return any(kind in kinds for kind in one.made) or (_RELEASE in kinds and bool(one.releases))


def _put(one: RunFacts) -> set[str]:
    return {release.partition("-")[0] for release in one.releases}


def _names(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    return tuple(one.run for one in runs[-_MOST:][::-1])
