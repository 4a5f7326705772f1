"""Tests that may be looked at after every request: e-processes, as natural logarithms.

While what a test is against holds, its e-process ever reaches x with probability 1/x at most (Ville), however
often somebody looks. So K of them, each acted on at K/alpha, err with probability alpha at most, together.
Source: Lindon and Malek, arXiv 2011.03567 (events); Waudby-Smith and Ramdas, JRSS B 86 (2024) 1-27 (means).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = int | NDArray[np.int64]
    Floats = NDArray[np.float64]

_RATIOS = (1.5, 2.0, 4.0, 8.0, 16.0, 64.0)  # how many times as often as the other
_TOWARDS_ALL = (0.1, 0.25, 0.5, 0.75, 0.98)  # between the largest share allowed and 1
_BETS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.98)  # of what a mean may be bet on


class EventCounts(NamedTuple):
    """Events among requests that came to the new one with the same chance; counts: whole, or (n,) over time.

    share: that chance, above 0 and below 1, drawn for each request.
    """

    new: Counts
    old: Counts
    share: float


def log_e_events(counts: Sequence[EventCounts]) -> Floats:
    """Against "the new one meets the event no more often than the old one".

    Valid whatever the rate, and however it moves, as long as it is the same for both: an event that both meet
    alike is the new one's with the chance it was given. Shape of the counts.
    """
    import numpy as np

    log_ratios = np.log(_RATIOS)
    total = np.zeros(len(_RATIOS))
    for new, old, share in counts:
        mine, theirs = (np.asarray(count, float)[..., None] for count in (new, old))
        total = total + mine * log_ratios - (mine + theirs) * np.log1p(share * np.expm1(log_ratios))
    return _log_mean(total)


def log_e_share(bad: Counts, n: Counts, most: float) -> Floats:
    """Against "at most this share is bad", 0 < most < 1; `bad` of `n`, both in the shape of the result."""
    import numpy as np

    shares = most + (1 - most) * np.array(_TOWARDS_ALL)
    hits, trials = (np.asarray(count, float)[..., None] for count in (bad, n))
    return _log_mean(hits * np.log(shares / most) + (trials - hits) * np.log((1 - shares) / (1 - most)))


def log_e_within(differences: Floats, margin: float) -> Floats:
    """Against "the mean difference is the margin or more", after each of them: large when it is kept.

    differences: (n,) in [-1, 1], new minus old, high is bad; margin: 0 < margin < 1.
    """
    import numpy as np

    gains, most_lost = margin - differences, 1 - margin
    return _log_mean(np.stack([np.cumsum(np.log1p(bet / most_lost * gains)) for bet in _BETS], axis=-1))


def block_differences(
    bad: NDArray[np.float64], is_new: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int64]]:
    """Differences of means, new minus old, of blocks of requests that close once they hold both.

    bad: (n,) in [0, 1], in the order of the requests; is_new: (n,). Returns the differences, and the request
    at which each block closed; requests behind the last one that closed are left out.
    """
    import numpy as np

    ends, begin = [], 0
    for at in np.flatnonzero(is_new[1:] != is_new[:-1]) + 1:  # the first change of arm closes a block
        if at > begin:
            ends.append(int(at))
            begin = int(at) + 1
    closed = np.array(ends, dtype=np.int64)
    if not ends:
        return np.empty(0), closed
    starts = np.concatenate([[0], closed[:-1] + 1])
    sums = (np.concatenate([[0.0], np.cumsum(x)]) for x in (is_new, bad * is_new, bad * ~is_new))
    n, mine, theirs = (total[closed + 1] - total[starts] for total in sums)
    return mine / n - theirs / (closed + 1 - starts - n), closed


def _log_mean(logs: Floats) -> Floats:
    """The logarithm of the mean of exponentials over the last axis."""
    import numpy as np

    most = logs.max(axis=-1, keepdims=True)
    found: Floats = np.log(np.exp(logs - most).mean(axis=-1)) + most[..., 0]
    return found
