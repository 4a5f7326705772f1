"""Reads what is known of a canary: traffic log, pairs, what users said of answers; and goes on reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ...core.workspace import Workspace
from ..gateway.traffic_log import TrafficRow, TrafficTail, read
from ..releases import EndpointState
from ..traffic.samples import LabelledTail
from .evidence import CanaryEvidence, ReleaseReply
from .pair_log import PairLog

_HISTORY = 2000  # requests before the canary that stable's usual latency is taken from
_REPLAY_S = 20.0  # so long may it take until a failed request was asked of the other release


class CanaryReader:
    """The evidence on the canary of a state, which must have one beside a stable release."""

    def __init__(self, workspace: Workspace, state: EndpointState, max_slower: float) -> None:
        if state.canary is None or state.stable is None:
            raise ValueError(f"endpoint {state.endpoint} has no canary beside a stable release")
        self.canary = state.canary.id
        out = canary_since(state)
        before = read(workspace, state.endpoint, last=_HISTORY, before=out)
        self.evidence = CanaryEvidence.starting(self.canary, state.stable.id, before, max_slower)
        self._tail = TrafficTail(workspace, state.endpoint, out)
        self._labelled = LabelledTail(workspace, state.endpoint, out)
        self._pairs = PairLog(workspace, state.endpoint, self.canary)
        self._is_shared: dict[str, bool] = {}  # request to whether the other release met it as badly
        self._waiting: list[TrafficRow] = []  # not yet known whether the request is at fault

    def update(self) -> CanaryEvidence:
        """The evidence with all that came since."""
        for pair in self._pairs.rows():
            if pair.kind == "replay" or pair.stable.is_bad:
                self._is_shared[pair.id] = pair.pair.shares_event
            if pair.kind == "shadow":
                self.evidence.add_pair(pair.pair)
        for row in self._settled([*self._waiting, *self._tail.rows()]):
            self.evidence.add(row)
        for one in self._labelled.labelled():
            self.evidence.rate(one.row, one.is_right)
        return self.evidence

    def _settled(self, rows: list[TrafficRow]) -> Iterator[TrafficRow]:
        """The rows that count: of those that ended badly, the ones whose request was not at fault itself."""
        self._waiting = []
        recent = _as_logged(datetime.now(UTC) - timedelta(seconds=_REPLAY_S))
        for row in rows:
            is_good = not ReleaseReply.of(row).is_bad
            if is_good or (row.id not in self._is_shared and row.time < recent):
                yield row
            elif row.id not in self._is_shared:
                self._waiting.append(row)
            elif not self._is_shared[row.id]:
                yield row


def canary_since(state: EndpointState) -> str:
    """When the canary came, as the log writes times."""
    canary = state.canary.id if state.canary is not None else ""
    changes = (change.at for change in state.changes if change.release == canary and change.what == "canary")
    return next(changes, "")


def _as_logged(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
