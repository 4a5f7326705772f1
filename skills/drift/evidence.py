"""Evidence over many windows: small changes add up, and all looks share one budget of false alarms.

Each window's p-value becomes a bet, e = 0.5 / sqrt(p), whose mean is at most 1 while nothing has changed;
their running product, never let below 1, crosses a bound b in a stretch of w windows with a chance of at most
about w / b. Source: Vovk and Wang, Annals of Statistics 49 (2021), calibrators; Shin, Ramdas and Rinaldo,
NEJSDS 2023, e-detectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from ...core.artifacts import ArtifactStore


@dataclass(frozen=True)
class DriftEvidence:
    """The running product, from how many windows it is, and the bound at which it alarms."""

    value: float
    windows: int
    bound: float

    @property
    def alarm(self) -> bool:
        """Whether what the windows show together is too much for chance."""
        return self.value >= self.bound

    @property
    def facts(self) -> dict[str, float]:
        """What a report keeps of it, for the windows to come."""
        return {
            "evidence": self.value,
            "evidence_bound": self.bound,
            "evidence_windows": self.windows,
        }


def after_window(p: float, before: tuple[float, int], budget: float, checks_per_day: int) -> DriftEvidence:
    """The evidence after one more window.

    p: the window's, in (0, 1]. before: the running product and its windows, (1.0, 0) at first. budget: chance
    of a false alarm a day that this rule may use.
    """
    value, windows = before
    start_again = value <= 1
    grown = max(value, 1.0) * 0.5 / sqrt(p)
    return DriftEvidence(grown, 1 if start_again else windows + 1, checks_per_day / budget)


def carried(store: ArtifactStore, key: str, first: str) -> tuple[float, int]:
    """What earlier reports on the same reference came to: product and windows, of the newest before a time.

    key: names endpoint and reference. first: when this window begins; a report whose window reaches into it
    is passed over, since the same requests may not speak twice. After an alarm the count begins anew.
    """
    found: Mapping[str, Any] | None = None
    for _, manifest in store.list("drift-report"):
        facts = manifest["facts"]
        if facts.get("evidence_key") != key or str(facts["last"]) >= first:
            continue
        if found is None or str(facts["last"]) > str(found["last"]):
            found = facts
    if found is None or found["alarm"]:
        return 1.0, 0
    return float(found["evidence"]), int(found["evidence_windows"])
