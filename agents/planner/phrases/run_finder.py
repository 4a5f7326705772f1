"""Which run of the record a question means: named, a release's, of a kind of step, or the newest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ....record.index import LedgerIndex
from ....record.run_state import RunState
from .lexicon import Lexicon
from .record_words import names_endpoint
from .surroundings import Surroundings

if TYPE_CHECKING:
    from .conversation_state import ConversationState

_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
RELEASE = re.compile(r"\bv\d{1,6}\b")
_SEARCHED = 200  # newest runs


class RunFinder:
    """What a question names, and the runs, releases and skills that are."""

    def __init__(
        self, text: str, said: str, around: Surroundings, lexicon: Lexicon, before: ConversationState
    ) -> None:
        self.text, self.said, self.around, self.lexicon, self.before = text, said, around, lexicon, before
        self.index = LedgerIndex.of(around.workspace)

    @property
    def endpoint(self) -> str | None:
        """The endpoint whose name is a word of it."""
        words = self.said.split()
        return next((name for key, name in self.around.endpoints.items() if key in words), None)

    def release_bundles(self) -> list[Any]:
        """The bundles of the release it names: a version, the canary, or what is live."""
        found = RELEASE.search(self.said)
        which = (
            found.group()
            if found
            else "canary"
            if "canary" in self.said
            else "stable"
            if re.search(r"\b(?:stable|live|production|prod)\b", self.said)
            else None
        )
        return list(self.around.releases(which, self.endpoint).values()) if which else []

    def run(self, fits: Callable[[RunState], bool] = lambda state: True) -> RunState | None:
        """The run that is meant: named, a release's, the conversation's, of a kind of step, or the newest."""
        if (named := _RUN.search(self.text)) is not None:
            return self.index.run_state(named.group())
        names_release = RELEASE.search(self.said) or re.search(r"\b(?:canary|stable)\b", self.said)
        if names_release:
            of_release = self._run_of_release(fits)
            if of_release is not None or RELEASE.search(self.said):
                return of_release or self._run_that_names(RELEASE.findall(self.said)[0], fits)
        skill = self._skill_named()
        if skill is None and re.search(r"\b(?:it|that|this|those|them)\b", self.said):
            for run in self.before.runs:
                state = self.index.run_state(run)
                if state is not None and fits(state):
                    return state
        for row in self.index.rows(limit=_SEARCHED):
            state = self.index.run_state(row.run)
            if state is None or (
                skill is not None and not any(step.skill == skill for step in state.steps.values())
            ):
                continue
            if fits(state) and (
                skill is None or self.endpoint is None or names_endpoint(state, self.endpoint)
            ):
                return state
        return None

    def _run_that_names(self, version: str, fits: Callable[[RunState], bool]) -> RunState | None:
        """The newest run whose goal or plan file names a version: what was refused is no release."""
        named = re.compile(rf"(?<![0-9a-z]){version}(?![0-9a-z])", re.IGNORECASE)
        for row in self.index.rows(limit=_SEARCHED):
            if named.search(row.goal) or named.search(row.source):
                state = self.index.run_state(row.run)
                if state is not None and fits(state):
                    return state
        return None

    def _run_of_release(self, fits: Callable[[RunState], bool]) -> RunState | None:
        """The newest run that changed what the release is to its endpoint, or judged its bundle."""
        from ....serving.releases import read_state

        found = RELEASE.search(self.said)
        states: list[tuple[int, RunState]] = []
        for name in self.around.endpoints.values():
            if self.endpoint not in (None, name):
                continue
            state = read_state(self.around.workspace, name)
            stable, canary, _ = state.routes()
            wanted = {found.group()} if found else {canary or "" if "canary" in self.said else stable or ""}
            keys = [
                c.key.partition("/")[0]
                for c in state.changes
                if c.release in wanted or c.release.partition("-")[0] in wanted
            ]
            bundles = [
                str(r.bundle) for r in state.known if r.id in wanted or r.id.partition("-")[0] in wanted
            ]
            records = list(self.index.changes([key for key in keys if key]).values())
            runs = {record.run for record in records if record.run} | {
                one.run for one in self.index.runs_that_judged(bundles)
            }
            found_states = (self.index.run_state(run) for run in runs)
            states += [(one.last.seq, one) for one in found_states if one is not None and fits(one)]
        return max(states, key=lambda one: one[0])[1] if states else None

    def _skill_named(self) -> str | None:
        """The skill whose name or phrases a word of the question is a form of: "the last training"."""
        small = {
            "was",
            "run",
            "runs",
            "last",
            "that",
            "this",
            "what",
            "which",
            "model",
            "approved",
            "refused",
            "report",
        }
        for word in self.said.split():
            if len(word) < 5 or word in small:
                continue
            for skill in self.lexicon.skills:
                heads = {p.head for ps in self.lexicon.patterns.values() for p in ps if p.skill is skill}
                if any(
                    len(head) >= 4 and word[: max(4, len(head) - 1)] == head[: max(4, len(head) - 1)]
                    for head in heads
                ):
                    return skill.name
        return None
