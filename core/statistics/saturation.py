"""A saturating power law, `value = ceiling - scale * x^-exponent`, and what it says beyond the data.

It is how the error of most learners falls with training rows (Hestness et al. 2017, arXiv:1712.00409,
section 2), as long as nothing else changes. A forecast from few trainings is weak, so its interval holds both
kinds of noise: of the items a value was measured on, and of the trainings themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PARAMETERS = 3
_EXPONENTS = (0.05, 2.0, 40)  # least, most, number of those tried, evenly by their logarithm
_LEVEL = 0.95


class Forecast(NamedTuple):
    """A value at `x` with its 95 % interval, and what it gains on the values measured at the largest x."""

    x: float
    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True)
class SaturatingLaw:
    """A fitted law: `value(x) = ceiling - scale * x^-exponent`, with ceiling in 0..1 and scale >= 0.

    `noise` is the standard deviation of one training's value about the law, `freedom` the degrees of freedom
    behind it.
    """

    ceiling: float
    scale: float
    exponent: float
    noise: float
    freedom: int

    def at(self, x: float) -> float:
        """The law's value at x > 0."""
        return float(self.ceiling - self.scale * x**-self.exponent)


def fit_saturating(x: Sequence[float], values: Sequence[float]) -> SaturatingLaw:
    """The law of least squares through values in 0..1 at x > 0; ValueError for fewer than four."""
    import numpy as np

    if len(x) <= PARAMETERS:
        raise ValueError(f"{len(x)} values cannot fit a law of {PARAMETERS} parameters and tell its noise")
    sizes, scores = np.asarray(x, float), np.asarray(values, float)
    unit = sizes.max()
    ceiling, scale, exponent = _fit(sizes / unit, scores[None, :])
    freedom = len(sizes) - PARAMETERS
    missed = scores - (ceiling - scale * (sizes / unit) ** -exponent)
    noise = float(np.sqrt((missed**2).sum() / freedom))
    exponent_found = float(exponent[0])
    return SaturatingLaw(
        float(ceiling[0]), float(scale[0] * unit**exponent_found), exponent_found, noise, freedom
    )


def forecast(
    x: Sequence[float],
    scores: Sequence[Sequence[float]],
    clusters: Sequence[int],
    at: Sequence[float],
    draws: int = 1000,
    seed: int = 0,
) -> list[Forecast]:
    """What the law says at each of `at`, with intervals of 95 %.

    scores: (trainings, items), 0..1, the same items in each row; clusters: (items,), from 0, items of one are
    one observation. Each draw takes clusters with replacement, the same for all trainings, adds to each
    training Student's t noise of the fit's own size, and fits anew.
    """
    import numpy as np

    matrix, sizes = np.asarray(scores, float), np.asarray(x, float)
    law = fit_saturating(x, matrix.mean(axis=1).tolist())
    unit = float(sizes.max())
    points = np.asarray(at, float) / unit
    largest = sizes >= unit
    rng = np.random.default_rng(seed)
    means = _resampled(matrix, np.asarray(clusters), draws, rng)
    noise = law.noise * rng.standard_t(law.freedom, size=means.shape)
    ceiling, scale, exponent = _fit(sizes / unit, means + noise)
    curves = np.clip(ceiling[:, None] - scale[:, None] * points[None, :] ** -exponent[:, None], 0, 1)
    ends = np.array([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    low, high = np.quantile(curves, ends, axis=0)
    gains = np.quantile(curves - means[:, largest].mean(axis=1, keepdims=True), ends, axis=0).T  # (points, 2)
    now = float(matrix[largest].mean())
    return [
        Forecast(x_at, law.at(x_at), float(low[n]), float(high[n]), law.at(x_at) - now, *gains[n].tolist())
        for n, x_at in enumerate(at)
    ]


def _resampled(matrix: Floats, clusters: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Floats:
    """The mean of each training over clusters drawn with replacement: (draws, trainings)."""
    import numpy as np

    number = int(clusters.max()) + 1
    sums = np.stack([np.bincount(clusters, weights=row, minlength=number) for row in matrix])
    sizes = np.bincount(clusters, minlength=number)
    often = rng.multinomial(number, np.full(number, 1 / number), size=draws)  # (draws, clusters)
    means: Floats = (often @ sums.T) / (often @ sizes)[:, None]
    return means


def _fit(x: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Ceiling, scale and exponent for each row of values (rows, trainings), by least squares.

    For a given exponent the other two are a straight line's, so only the exponent is searched.
    """
    import numpy as np

    best = np.full(len(values), np.inf)
    found = np.zeros((3, len(values)))
    for exponent in np.geomspace(*_EXPONENTS):
        z = x**-exponent
        slope = (
            -((values - values.mean(axis=1, keepdims=True)) @ (z - z.mean())) / ((z - z.mean()) ** 2).sum()
        )
        scale = np.maximum(slope, 0.0)
        ceiling = values.mean(axis=1) + scale * z.mean()
        over = ceiling > 1
        scale = np.where(over, np.maximum(((1 - values) @ z) / (z @ z), 0.0), scale)
        ceiling = np.minimum(ceiling, 1.0)
        missed = ((values - ceiling[:, None] + scale[:, None] * z) ** 2).sum(axis=1)
        better = missed < best
        best = np.where(better, missed, best)
        found = np.where(better, np.stack([ceiling, scale, np.full(len(values), exponent)]), found)
    return found[0], found[1], found[2]
