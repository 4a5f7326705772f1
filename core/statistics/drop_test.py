"""The exact paired test of a drop: Tango's score, and its largest p-value over what is not known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, isinf, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TIE = 1e-9  # scores nearer than this are one score
_RESOLUTION = 1e-4  # of a bound, as a share
_FAR = 40.0  # no score beyond it is needed for any level in use


class DropTest:
    """Is the drop of right answers on n items below a margin, or above it?

    The drop is P(lost) - P(won), where an item is lost that was right before and is wrong now. At the margin
    itself P(won) is not known: p-values are the largest over 41 values of it, so that the test keeps its
    level whatever it is. A negative margin asks for a rise.
    Source: Tango, Stat. Med. 17 (1998) 891-908; Hsueh, Liu and Chen, Biometrics 57 (2001) 478-483.
    """

    def __init__(self, n: int, margin: float) -> None:
        """N items, 1 or more; margin above -1 and below 1, as a share."""
        import numpy as np

        self.n, self.margin = n, margin
        self._flipped = margin < 0  # losses and wins change places
        self._m = m = abs(margin)
        won = (1 - m) / 2 * np.linspace(0, 1, 41) ** 3  # dense near 0, where the level is most sensitive
        reach = 8 * np.sqrt(n * won * (1 - won)) + 20  # beyond it lies a chance under 1e-12
        first = np.maximum(np.floor(n * won - reach), 0).astype(int)
        last = np.minimum(np.ceil(n * won + reach), n).astype(int)
        wide = last - first + 1
        self._begins = np.concatenate([[0], np.cumsum(wide)[:-1]])
        self._c = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
        q = np.repeat(won, wide)
        self._weight = _binomial_pmf(self._c, n, q)
        self._lost = np.minimum((q + m) / (1 - q), 1.0)  # P(lost), given that it is not won
        self._columns = np.arange(last.max() + 1)
        self._regions: dict[tuple[float, bool], NDArray[Any] | None] = {}

    def score(self, lost: Any, won: Any) -> Any:
        """Tango's z: large when the drop is above the margin."""
        return -_tango(won, lost, self.n, self._m) if self._flipped else _tango(lost, won, self.n, self._m)

    def p_go(self, lost: int, won: int) -> float:
        """Against "the drop is the margin or more": small when it is shown to be less."""
        return self._p(float(self.score(lost, won)), below=True)

    def p_nogo(self, lost: int, won: int) -> float:
        """Against "the drop is the margin or less": small when it is shown to be more."""
        return self._p(float(self.score(lost, won)), below=False)

    def critical(self, alpha: float, below: bool) -> float:
        """The score up to which (below) or from which p is at most alpha; infinite when no count decides."""
        low, high = (-_FAR, 0.0) if below else (0.0, _FAR)
        for _ in range(25):  # p changes with the score in one direction, in steps
            middle = (low + high) / 2
            decides = self._p(middle, below) <= alpha
            low, high = (middle, high) if decides == below else (low, middle)
        found = low if below else high
        return found if self._p(found, below) <= alpha and self._can_reach(found, below) else inf

    def power(self, alpha: float, discordance: float, drop: float, below: bool = True) -> float:
        """P(p <= alpha) for a true drop and discordance, P(lost) + P(won); margin at least 0."""
        import numpy as np
        from scipy.special import bdtr, bdtrc

        most = self._region(alpha, below)
        if most is None:
            return 0.0
        discordance = max(discordance, abs(drop))
        q, lost = (discordance - drop) / 2, (discordance + drop) / 2
        c = np.arange(self.n + 1)
        share = min(lost / (1 - q), 1.0) if q < 1 else 0.0
        if below:
            tail = np.where(most >= 0, bdtr(np.maximum(most, 0), self.n - c, share), 0.0)
        else:
            tail = np.where(most < 0, 1.0, bdtrc(np.clip(most, 0, self.n - c), self.n - c, share))
        return float((_binomial_pmf(c, self.n, np.full(len(c), q)) * tail).sum())

    @staticmethod
    @lru_cache(maxsize=4096)
    def upper_bound(n: int, lost: int, won: int, alpha: float) -> float:
        """The smallest margin that these counts show the drop to be below, one-sided at alpha."""

        def excess(margin: float) -> float:
            return DropTest(n, margin).p_go(lost, won) - alpha

        drop = (lost - won) / n
        spread = sqrt((lost + won + 1) / n - drop * drop) / sqrt(n)
        return _crossing(excess, drop, min(drop + 3 * spread + 4 / n, 1 - 1e-9))

    @staticmethod
    def lower_bound(n: int, lost: int, won: int, alpha: float) -> float:
        """The largest margin that these counts show the drop to be above, one-sided at alpha."""
        return -DropTest.upper_bound(n, won, lost, alpha)

    def _region(self, alpha: float, below: bool) -> NDArray[Any] | None:
        """Of the counts that decide, the border as `_most_lost` has it for each number won; None: none do."""
        if (alpha, below) not in self._regions:
            import numpy as np

            z = self.critical(alpha, below)
            border = None if isinf(z) else self._most_lost(z, np.arange(self.n + 1), below)
            self._regions[alpha, below] = border
        return self._regions[alpha, below]

    def _p(self, z: float, below: bool) -> float:
        """The largest chance of a score of at most z (below) or at least z, at the margin."""
        if self._flipped:
            z, below = -z, not below
        import numpy as np
        from scipy.special import bdtr, bdtrc

        most = self._most_lost(z, self._columns, below)[self._c]
        left = self.n - self._c
        if below:
            tail = np.where(most >= 0, bdtr(np.maximum(most, 0), left, self._lost), 0.0)
        else:
            tail = np.where(most < 0, 1.0, bdtrc(np.clip(most, 0, left), left, self._lost))
        return float(min(np.add.reduceat(self._weight * tail, self._begins).max(), 1.0))

    def _most_lost(self, z: float, won: NDArray[Any], below: bool) -> NDArray[Any]:
        """For each number won, the most lost whose score is at most z, or (not below) still less than z.

        -1 when none is. The score grows with what is lost, so halving finds it.
        """
        import numpy as np

        limit = z + _TIE if below else z - _TIE
        low, high = np.full(len(won), -1), self.n - won + 1
        while (high - low).max() > 1:
            middle = (low + high) // 2
            fits = _tango(np.clip(middle, 0, self.n - won), won, self.n, self._m)
            inside = (fits <= limit if below else fits < limit) & (middle <= self.n - won)
            inside |= middle < 0
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return low

    def _can_reach(self, z: float, below: bool) -> bool:
        """Whether any counts have a score as extreme as z."""
        extreme = self.score(0, self.n) if below else self.score(self.n, 0)
        return bool(extreme <= z + _TIE) if below else bool(extreme >= z - _TIE)


def _tango(lost: Any, won: Any, n: int, margin: float) -> NDArray[Any]:
    """The score (lost - won - n margin) / s, with s from the likelihood at the margin; 0 where s is 0."""
    import numpy as np

    b, c, m = np.asarray(lost, float), np.asarray(won, float), margin
    linear, constant = -b - c + (2 * n - b + c) * m, -c * m * (1 - m)
    q = (np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * (2 * q + m * (1 - m))
    return np.where(variance > 0, (b - c - n * m) / np.sqrt(np.where(variance > 0, variance, 1)), 0.0)


def _binomial_pmf(k: NDArray[Any], n: int, share: NDArray[Any]) -> NDArray[Any]:
    import numpy as np
    from scipy.special import gammaln, xlog1py, xlogy

    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(np.exp(choose + xlogy(k, share) + xlog1py(n - k, -share)))


def _crossing(excess: Callable[[float], float], inside: float, guess: float) -> float:
    """Where a function that falls from above 0 at `inside` passes 0; `guess` is probably beyond it."""
    from scipy.optimize import brentq

    beyond = guess if excess(guess) <= 0 else 1 - 1e-9
    if excess(beyond) > 0:
        return 1.0
    inside = max(inside, -1 + 1e-9)
    if inside >= beyond or excess(inside) <= 0:
        return inside
    return float(brentq(excess, inside, beyond, xtol=_RESOLUTION))
