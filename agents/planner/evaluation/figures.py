"""How well a planner reads the sentences of a set, and what it takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.registry import Registry
from ....core.settings.planner import PlannerSettings
from ....core.statistics import wilson
from .scoring import SentenceOutcome, judge, load, worlds
from .world import World

SETS = (
    "built",
    "held_out",
    "third",
    "fourth",
    "hostile",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
)
"""`built` made the phrases planner, the others were written afterwards, from `fourth` on by others.

`ninth` and `eleventh` are held out: no planner is built with them.
"""

KINDS = {"plan": "plans", "ask": "questions", "answer": "answers", "refuse": "nothing proposed"}


@dataclass(frozen=True)
class PlannerFigures:
    """One planner on one set. A reply that another planner made instead counts as not right."""

    planner: str
    name: str
    outcomes: Sequence[SentenceOutcome]

    @property
    def n(self) -> int:
        """Sentences."""
        return len(self.outcomes)

    @property
    def right(self) -> int:
        """Right plans with every argument, right questions, right answers, and nothing where nothing is."""
        return sum(one.right for one in self.outcomes)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the share that is right, by Wilson."""
        return wilson(self.right, self.n)

    @property
    def traps(self) -> list[SentenceOutcome]:
        """Sentences that must propose no change."""
        return [one for one in self.outcomes if one.sentence.trap]

    @property
    def wrong_changes(self) -> int:
        """Traps that led to a plan that changes something."""
        return sum(one.changed_wrongly for one in self.traps)

    @property
    def plannable(self) -> tuple[int, int]:
        """How many are right of those whose expected plan the compiler takes, and how many these are."""
        return self.share_of(lambda one: one.is_plannable)

    @property
    def fell_back(self) -> int:
        """Sentences that the planner gave no reply of its own to."""
        return sum(bool(one.fell_back) for one in self.outcomes)

    def share_of(self, chosen: Callable[[SentenceOutcome], bool]) -> tuple[int, int]:
        """How many of some sentences are right, and how many there are."""
        some = [one for one in self.outcomes if chosen(one)]
        return sum(one.right for one in some), len(some)

    def quantile_s(self, share: float) -> float:
        """Seconds within which so large a share of the replies came."""
        times = sorted(one.seconds for one in self.outcomes)
        return times[int(share * (len(times) - 1))]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        low, high = self.interval
        plans = [one for one in self.outcomes if one.kind == "plan"]
        usd = [one.usd for one in self.outcomes if one.usd is not None]
        return {
            "planner": self.planner,
            "set": self.name,
            "n": self.n,
            "right": self.right / self.n,
            "interval": [low, high],
            "skills": sum(one.right_skills and not one.fell_back for one in plans) / max(1, len(plans)),
            **{
                words.replace(" ", "_"): share[0] / share[1]
                for kind, words in KINDS.items()
                if (share := self.share_of(lambda one, kind=kind: one.kind == kind))[1]  # type: ignore[misc]
            },
            "plannable": list(self.plannable),
            "traps": len(self.traps),
            "wrong_changes": self.wrong_changes,
            "fell_back": self.fell_back,
            "tokens": sum(one.tokens for one in self.outcomes),
            "usd": sum(usd) if usd else None,
            "p50_s": self.quantile_s(0.5),
            "p95_s": self.quantile_s(0.95),
            "p50_cpu_ms": statistics.median(one.cpu_ms for one in self.outcomes),
        }

    def lines(self, *, misses: bool = False) -> Iterator[str]:
        """As a person reads it."""
        facts, (low, high) = self.document(), self.interval
        yield f"{self.planner} on {self.name}: {self.n} sentences"
        yield f"  right                 {_share(self.right, self.n)}, 95 % from {low:.1%} to {high:.1%}"
        if self.plannable[1] < self.n:
            yield f"  labels that compile   {_share(*self.plannable)}"
        yield f"  skills and order      {facts['skills']:.1%} of plans"
        for kind, words in KINDS.items():
            right, n = self.share_of(lambda one, kind=kind: one.kind == kind)  # type: ignore[misc]
            yield f"  {words:21} {_share(right, n)}"
        yield f"  wrong changes         {self.wrong_changes} of {len(self.traps)} traps"
        if self.fell_back:
            yield f"  no reply of its own   {self.fell_back}"
        usd = "" if facts["usd"] is None else f", {facts['usd']:.4f} US dollars"
        yield f"  took                  {facts['tokens']:,} tokens{usd}"
        yield (
            f"  seconds               p50 {facts['p50_s']:.3f}, p95 {facts['p95_s']:.3f}; "
            f"CPU here p50 {facts['p50_cpu_ms']:.1f} ms"
        )
        for one in self.outcomes if misses else ():
            if not one.right:
                why = f" (instead: {one.fell_back})" if one.fell_back else ""
                yield f"  - {one.sentence.say!r}{why}"
                yield f"      expected {one.sentence.expect}; got {one.got}: {one.shown}"


def evaluate_planner(
    kind: str,
    registry: Registry,
    planner: PlannerSettings,
    sets: Sequence[str] = SETS,
    limit: int | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[PlannerFigures]:
    """Figures of a kind of planner, a set at a time. Nothing is run; the current folder moves meanwhile.

    limit: only so many sentences of a set, spread over it. told: how many of how many are done.
    """

    def made(folder: Path, skills: Registry, state: str) -> World:
        return World(folder, skills, state=state, planner=planner)

    name = kind if kind != "llm" else f"{kind}/{planner.model}"
    for one in sets:
        sentences = load(one)
        if limit is not None and limit < len(sentences):
            sentences = [sentences[at * len(sentences) // limit] for at in range(limit)]
        outcomes = []
        with worlds(made, registry) as world:
            for sentence in sentences:
                outcomes.append(judge(sentence, world(sentence.state), kind))
                told(len(outcomes), len(sentences))
        yield PlannerFigures(name, one, outcomes)


def _share(right: int, n: int) -> str:
    return f"{right}/{n} ({right / n:.1%})" if n else "none"
