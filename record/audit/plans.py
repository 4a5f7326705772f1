"""The stored plans, each read once and held against the id it goes by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...core.files import sha256_json
from .report import Findings


@dataclass(frozen=True)
class PlanFacts:
    """A plan as far as records are held against it."""

    steps: Mapping[str, Mapping[str, Any]]
    gates: Mapping[str, Any]


class PlanShelf:
    """Plans by id."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        self.folder = folder
        self.findings = findings
        self._read: dict[str, PlanFacts | None] = {}

    @property
    def count(self) -> int:
        """How many plans were read."""
        return len(self._read)

    def get(self, plan: str, seq: int) -> PlanFacts | None:
        """The plan that a record names; None when it is missing or altered, which is a fault said once."""
        if plan not in self._read:
            self._read[plan] = self._open(plan, seq)
        return self._read[plan]

    def _open(self, plan: str, seq: int) -> PlanFacts | None:
        try:
            document = json.loads((self.folder / f"{plan}.json").read_bytes())
            body = document["plan"]
            found = sha256_json(body)
            facts = PlanFacts({step["id"]: step for step in body["steps"]}, body["gates"])
        except OSError:
            self.findings.fault(seq, f"plan {plan[:12]}, which record {seq} names, is not in {self.folder}")
            return None
        except (ValueError, KeyError, TypeError, AskError) as error:
            self.findings.fault(seq, f"plan {plan[:12]}, which record {seq} names, does not read: {error}")
            return None
        if found != plan or document.get("id") != plan:
            self.findings.fault(
                seq, f"plan {plan[:12]}, which record {seq} names, was altered: it hashes to {found[:12]}"
            )
            return None
        return facts
