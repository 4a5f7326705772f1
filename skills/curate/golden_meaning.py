"""Rows that ask in other words what a golden row asks, by an embedder: counted, or left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.contract import StepContext
from ...data.rows import Reason
from ...data.sample import asked_of
from ...evals.meaning import MeaningFinder, Nearest
from ...evals.scorers.base import ServerAccess
from ...evals.scorers.text_vectors import TextVectors
from .gather import GatheredRow, GoldenRows
from .judge import LeftOut
from .request import GoldenEmbedder

_EXAMPLES, _SHOWN_CHARS = 3, 160


class GoldenMeaning:
    """Compares rows that nothing else leaves out with the golden ones, by vectors of what is asked.

    near: rows at the cosine or above it. not_compared: rows that the embedder refused; they may be anything,
    so they go where near ones go.
    """

    def __init__(self, settings: GoldenEmbedder, golden: GoldenRows, ctx: StepContext) -> None:
        access = ServerAccess(ctx.workspace.root / "cache" / "embeddings.sqlite", ctx.secret)
        self._settings = settings
        self._finder = MeaningFinder(golden.texts, TextVectors(settings, access))
        self.near = self.not_compared = 0
        self._examples: list[dict[str, str]] = []

    def judge(self, rows: Sequence[GatheredRow], faults: Sequence[LeftOut | None]) -> list[LeftOut | None]:
        """The faults of rows, with those that only their meaning has."""
        good = [place for place, fault in enumerate(faults) if fault is None]
        judged = list(faults)
        if not good:
            return judged
        nearest = self._finder.nearest([asked_of(rows[place].sample) for place in good])
        for place, found in zip(good, nearest, strict=True):
            why = self._why(found)
            if why is not None:
                self._show(rows[place], why)
                if self._settings.near == "drop":
                    judged[place] = LeftOut(Reason.GOLDEN_MEANING, why)
        return judged

    def document(self) -> dict[str, Any]:
        """What a dataset's report says: how many, and some of them."""
        return {"near": self.near, "not_compared": self.not_compared, "examples": self._examples}

    def _why(self, found: Nearest | str) -> str | None:
        """Why a row is near; None where it is not."""
        if isinstance(found, str):
            self.not_compared += 1
            return f"not compared: {found}"
        if found.cosine < self._settings.min_cosine:
            return None
        self.near += 1
        return f"cosine {found.cosine:.2f} to golden: {found.item}"

    def _show(self, row: GatheredRow, why: str) -> None:
        if len(self._examples) < _EXAMPLES:
            text = asked_of(row.sample)
            self._examples.append({"where": row.name, "text": text[:_SHOWN_CHARS], "why": why[:_SHOWN_CHARS]})
