"""The figures of a level, by the names that vLLM's and NVIDIA's load generators use, with 95 % intervals.

`ttft_ms`, `itl_ms`, `tpot_ms` and `e2el_ms` as in `vllm bench serve`; what aiperf calls a request's
inter-token latency is its tpot. Intervals are by bootstrap over requests, in blocks of neighbours, which
share the machine's moods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError
from .level import Level
from .streamed import RequestRecord

if TYPE_CHECKING:
    import numpy as np

LATENCIES = ("ttft_ms", "tpot_ms", "e2el_ms")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
HEADLINE = {"ttft": ("p50", "p95"), "tpot": ("p50",), "e2el": ("p50", "p95", "p99")}
RATES = ("output_tokens_per_s", "requests_per_s")
SAMPLES = 1000
_FEWEST_BLOCKS = 8
_SEED = 20261122


def level_figures(level: Level, goodput: Mapping[str, float]) -> dict[str, Any]:
    """Everything that is told of a level, as JSON.

    Latencies are of whole answers alone. goodput: the most ms of ttft, tpot and e2el that a request which is
    served well may take.
    """
    whole = [record for record in level.records if record.is_whole]
    seconds = level.seconds or 1e-9
    samples = Samples(whole, level.concurrency)
    found: dict[str, Any] = {
        "concurrency": level.concurrency,
        "requests": len(level.records),
        "completed": len(whole),
        "seconds": round(level.seconds, 3),
        "errors": dict(sorted(Counter(one.error for one in level.records if one.error).items())),
        "usage_faults": dict(Counter(one.usage_fault for one in whole if one.usage_fault)),
        "counted_by": dict(sorted(Counter(one.counted_by for one in whole).items())),
        "output_tokens": sum(one.tokens_out for one in whole),
        "input_tokens": sum(one.tokens_in or 0 for one in whole),
        "retry_after_s": round(sum(one.retry_after_s for one in level.records), 3),
    }
    for name in LATENCIES:
        found[name] = samples.latency(name)
    found["itl_ms"] = _plain_quantiles([gap for one in whole for gap in one.itl_ms])
    rates = {"output_tokens_per_s": found["output_tokens"] / seconds, "requests_per_s": len(whole) / seconds}
    for name, value in rates.items():
        low, high = samples.rate_interval(name, value)
        found[name] = {"value": value, "low": low, "high": high}
    if goodput:
        found["goodput_requests_per_s"] = sum(is_served_well(one, goodput) for one in whole) / seconds
    return found


def headline(level: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a level that tables show, one by one (`ttft_p50_ms`); None where none is known."""
    flat: dict[str, Any] = {
        "concurrency": level["concurrency"],
        "completed": level["completed"],
        "failed": level["requests"] - level["completed"],
    }
    for name, labels in HEADLINE.items():
        for label in labels:
            flat[f"{name}_{label}_ms"] = None if level[f"{name}_ms"] is None else level[f"{name}_ms"][label]
    return flat | {name: level[name]["value"] for name in RATES}


def is_served_well(record: RequestRecord, limits: Mapping[str, float]) -> bool:
    """Whether a whole answer met every limit; one of a single token has no tpot to miss."""
    met = ((getattr(record, name), most) for name, most in limits.items())
    return record.is_whole and all(got is None or got <= most for got, most in met)


class Samples:
    """The whole answers of a level in the order they began, and bootstrap samples of them."""

    def __init__(self, whole: Sequence[RequestRecord], concurrency: int) -> None:
        import numpy as np

        ordered = sorted(whole, key=lambda one: one.started_s)
        values = {name: [getattr(one, name) for one in ordered] for name in LATENCIES}
        self.n = len(ordered)
        self.values = {name: np.array(some, dtype=float) for name, some in values.items()}  # None: NaN
        self.turns = np.array([one.turn for one in ordered], dtype=int)
        self._tokens = np.array([one.tokens_out for one in ordered], dtype=float)
        self._rows = _drawn(self.n, concurrency)  # (SAMPLES, n)

    def of_turn(self, turn: int, name: str, label: str) -> float:
        """A figure of one turn, NaN for none; without a label, what was given per ms under way."""
        rows = self.turns == turn
        if not rows.any():
            return float("nan")
        if label:
            return float(_quantile(self.values[name][rows], label))
        given = self._tokens[rows].sum() if name == "output_tokens_per_s" else rows.sum()
        return float(given / self.values["e2el_ms"][rows].sum())

    def latency(self, name: str) -> dict[str, Any] | None:
        """Mean and quantiles with their intervals; None without a value."""
        import numpy as np

        values = self.values[name]
        if not np.isfinite(values).any():
            return None
        found: dict[str, Any] = {"mean": float(np.nanmean(values))}
        for label in QUANTILES:
            low, high = np.quantile(self.quantiles(name, label), (0.025, 0.975))
            found[label] = float(_quantile(values, label))
            found[f"{label}_low"], found[f"{label}_high"] = float(low), float(high)
        return found

    def quantiles(self, name: str, label: str) -> np.ndarray[Any, Any]:
        """A quantile of each bootstrap sample, (SAMPLES,)."""
        return _quantile(self.values[name][self._rows], label)

    def rate_ratios(self, name: str) -> np.ndarray[Any, Any]:
        """Of each bootstrap sample, its rate over that of all requests, (SAMPLES,).

        So many requests are always under way: the rate is that number times what a request gives over what it
        takes.
        """
        given = self._tokens if name == "output_tokens_per_s" else self._tokens * 0 + 1
        taken = self.values["e2el_ms"]
        ratio = given.sum() / taken.sum()
        drawn: np.ndarray[Any, Any] = given[self._rows].sum(axis=-1) / taken[self._rows].sum(axis=-1) / ratio
        return drawn

    def rate_interval(self, name: str, value: float) -> tuple[float | None, float | None]:
        """(low, high) of a rate; None for none."""
        import numpy as np

        if not self.n:
            return None, None
        low, high = np.quantile(self.rate_ratios(name), (0.025, 0.975))
        return float(value * low), float(value * high)


def _drawn(n: int, concurrency: int) -> np.ndarray[Any, Any]:
    """Row numbers of bootstrap samples, made of whole blocks of neighbours; (SAMPLES, n)."""
    import numpy as np

    if n == 0:
        return np.zeros((SAMPLES, 0), dtype=int)
    size = max(1, min(concurrency, n // _FEWEST_BLOCKS))
    draw = np.random.default_rng(_SEED)
    starts = draw.integers(0, n, (SAMPLES, -(-n // size)))
    rows = (starts[:, :, None] + np.arange(size)) % n
    return rows.reshape(SAMPLES, -1)[:, :n]


def _quantile(values: np.ndarray[Any, Any], label: str) -> np.ndarray[Any, Any]:
    """Along the last axis; what has no value is left out."""
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a sample of nothing but single tokens
        return np.asarray(np.nanquantile(values, QUANTILES[label], axis=-1))


def _plain_quantiles(values: Sequence[float]) -> dict[str, float] | None:
    import numpy as np

    if not values:
        return None
    found = {label: float(np.quantile(values, q)) for label, q in QUANTILES.items()}
    return {"mean": float(np.mean(values)), **found}


def check_goodput(limits: Mapping[str, float]) -> None:
    """AskError for a limit on what is not measured."""
    for name, most in limits.items():
        if name not in LATENCIES or most <= 0:
            raise AskError(
                f"invalid goodput limit '{name}: {most}': expected {', '.join(LATENCIES)} above 0."
            )
