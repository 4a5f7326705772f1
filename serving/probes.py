"""What a release is asked to see whether it serves, and what an answer is worth where that can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.gate import Check, Decision
from ..core.statistics import BarTest, Paired, mean_drop_at_most, share_drop_at_most

PROBES = ("hello", "can you help me?", "what can you do?")  # where nobody says what to ask
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


def scores_check(
    scores: Sequence[tuple[float, float]], max_drop: float, max_unseen: float, alpha: float, level: float
) -> Check | None:
    """Whether answers are worth less than before by more than a margin: NO_GO when that is shown at `level`.

    GO only when a drop of `max_unseen` is shown not to be there, at alpha. scores: (before, now) of each
    scored probe; None without any.
    """
    if not scores:
        return None
    drops = [before - now for before, now in scores]
    p_nogo, p_seen = _drop_test(drops, max_drop).p_nogo, _drop_test(drops, max_unseen).p_go
    before, now = (sum(values) / len(drops) for values in zip(*scores, strict=True))
    told = f"the canary's answers score {now:.1%}, stable's {before:.1%}"
    decision = Decision.GO
    if p_nogo <= level:
        decision = Decision.NO_GO
    elif p_seen > alpha:
        decision = Decision.INCONCLUSIVE
        told += f"; {len(drops)} items are too few to tell that it is not {100 * max_unseen:.0f} points worse"
    return Check(
        name="golden sample",
        decision=decision,
        got=sum(drops) / len(drops),
        bar=max_drop,
        n=len(drops),
        p_go=p_seen,
        p_nogo=p_nogo,
        unit="points",
        message=told,
    )


def _drop_test(drops: Sequence[float], margin: float) -> BarTest:
    if set(drops) <= {-1.0, 0.0, 1.0}:
        counts = Paired(len(drops), drops.count(1.0), drops.count(-1.0))
        return share_drop_at_most(counts, counts, margin, 0.05)
    return mean_drop_at_most(drops, drops, margin, 0.05)
