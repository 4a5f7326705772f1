"""What a release is asked to see whether it serves, and what an answer is worth where that can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.gate import Check, Decision
from ..core.statistics import Paired, mean_drop_at_most, share_drop_at_most

_TOKENS = 64


@dataclass(frozen=True)
class Probe:
    """A conversation that ends with what a user says.

    score: what an answer is worth, 0 to 1, or None where it cannot be told; without it only whether one comes
    counts.
    """

    chat: tuple[Mapping[str, str], ...]
    max_tokens: int = _TOKENS
    score: Callable[[str], float | None] | None = None

    @classmethod
    def of(cls, asked: str | Probe) -> Probe:
        """The probe of a text that a user says, or the probe itself."""
        return asked if isinstance(asked, Probe) else cls(({"role": "user", "content": asked},))

    @property
    def text(self) -> str:
        """What the user says last."""
        return next((one["content"] for one in reversed(self.chat) if one["role"] == "user"), "")

    def worth(self, answer: str) -> float | None:
        """The score of an answer; None without one."""
        return None if self.score is None else self.score(answer)


def scores_check(scores: Sequence[tuple[float, float]], max_drop: float, alpha: float) -> Check | None:
    """Whether answers are worth less than before by more than a margin: NO_GO when that is shown.

    scores: (before, now) of each scored probe; None without any.
    """
    if not scores:
        return None
    drops = [before - now for before, now in scores]
    if set(drops) <= {-1.0, 0.0, 1.0}:
        counts = Paired(len(drops), drops.count(1.0), drops.count(-1.0))
        test = share_drop_at_most(counts, counts, max_drop, alpha)
    else:
        test = mean_drop_at_most(drops, drops, max_drop, alpha)
    before, now = (sum(values) / len(drops) for values in zip(*scores, strict=True))
    return Check(
        name="probe scores",
        decision=Decision.NO_GO if test.p_nogo <= alpha else Decision.GO,
        got=test.got,
        bar=max_drop,
        n=len(drops),
        p_nogo=test.p_nogo,
        unit="points",
        message=f"the canary's answers score {now:.1%}, stable's {before:.1%}",
    )
