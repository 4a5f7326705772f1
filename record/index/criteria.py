"""What records are looked for: by run, step, actor, skill, phase and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ...core.errors import AskError, did_you_mean
from ..ledger import Phase


@dataclass(frozen=True)
class Criteria:
    """What records are looked for, read once and held against each."""

    wanted: Mapping[str, str]
    first: datetime | None
    last: datetime | None

    @classmethod
    def of(
        cls,
        *,
        run: str | None = None,
        step: str | None = None,
        actor: str | None = None,
        skill: str | None = None,
        phase: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Criteria:
        """From filters; the times are ISO 8601, UTC unless they name a zone, and `until` is not included.

        AskError for an unknown phase or a time that does not parse.
        """
        if phase is not None and phase not in set(Phase):
            raise AskError(
                f"unknown phase '{phase}' (there are: {', '.join(Phase)}).{did_you_mean(phase, Phase)}"
            )
        filters = {"run": run, "step": step, "actor": actor, "skill": skill, "phase": phase}
        wanted = {name: value for name, value in filters.items() if value is not None}
        return cls(wanted, _time(since, "since"), _time(until, "until"))

    @property
    def are_empty(self) -> bool:
        """Whether every record meets them."""
        return not self.wanted and self.first is None and self.last is None


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise AskError(
            f"invalid time '{text}' for {name}: expected an ISO 8601 date or time, like 2026-11-20 or "
            "2026-11-20T18:00:00+00:00."
        ) from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
