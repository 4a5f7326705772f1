"""What the demo found, as the JSON document and the report tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DemoStory:
    """What the demo found so far; becomes the JSON document and the report."""

    seconds: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)
    verdicts: dict[str, str | None] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    leaderboard: list[dict[str, Any]] = field(default_factory=list)
    report: str = ""
    faults: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The one JSON document of `opswright demo --json`."""
        keys = ("steps", "verdicts", "metrics", "baselines", "drift", "serving", "audit", "report", "faults")
        return {
            "ok": not self.faults,
            "seconds": round(self.seconds, 1),
            **{key: getattr(self, key) for key in keys},
        }
