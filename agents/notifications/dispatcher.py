"""Tells webhooks what the ledger says: at least once, however often it is killed, retried until given up.

Its state lies in `notifications/` in the workspace: how far the ledger was read, and what is to be delivered
to whom. It is written before anything is sent, and once more after it was taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...core.errors import OpswrightError
from ...core.files import PRIVATE, canonical_json, write_atomically
from ...core.registry import Registry
from ...core.settings.notifications import NotificationSettings, WebhookSettings
from ...core.workspace import Workspace
from ...record.index import LedgerIndex
from ...record.ledger import Ledger
from ..policy import policy_of
from .delivery import DeliveryError, deliver
from .events import Notification, expired, may_tell, notifications_of

_WAITING_AFTER_S = 1.5  # consent that comes with the ask is recorded by then
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 600.0
_MOST_PENDING = 500  # messages held for one address; what follows stays in the ledger until they are gone
_KEPT_IDS = 10_000  # ids of what was told, so that an event that is found twice is told once
_RUNS_LOOKED_AT = 200


@dataclass
class Pending:
    """A message that one webhook has yet to take. Times are seconds since 1970."""

    message: dict[str, Any]
    since: float
    attempts: int = 0
    next_at: float = 0.0
    error: str = ""
    stands_aside: bool = False  # refused for itself: others need not wait for it

    @property
    def place(self) -> tuple[float, int]:
        """By what messages come in their order: when each was taken in, and from which record."""
        return self.since, int(self.message["data"].get("record", 0))

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Pending:
        """From JSON; ValueError or TypeError for what is no message with its times."""
        made = cls(**document)
        if not isinstance(Notification(**made.message).data, dict):
            raise TypeError("a message holds an object")
        times = float(made.since), float(made.next_at)
        return replace(made, since=times[0], next_at=times[1], attempts=int(made.attempts))


@dataclass
class WebhookState:
    """How one webhook stands. after: the record up to which the ledger was read for it."""

    pending: dict[str, Pending] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)  # ids that were taken, or given up
    delivered: int = 0
    given_up: int = 0
    last_error: str = ""
    after: int = -1  # as far as the dispatcher was when it first saw the webhook


@dataclass
class DispatchState:
    """How far the ledger was read for any webhook, and each webhook's state by its name."""

    after: int = 0
    webhooks: dict[str, WebhookState] = field(default_factory=dict)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> DispatchState:
        """From JSON."""
        webhooks = {}
        for name, found in document.get("webhooks", {}).items():
            pending = {key: Pending.of_document(one) for key, one in found.pop("pending", {}).items()}
            in_order = dict(sorted(pending.items(), key=lambda one: one[1].place))  # JSON's is by key
            webhooks[name] = WebhookState(pending=in_order, **found)
        return cls(int(document["after"]), webhooks)


def state_path(workspace: Workspace) -> Path:
    """Where the state lies; its folder is its owner's alone."""
    folder = workspace.root / "notifications"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "state.json"


def read_state(workspace: Workspace) -> DispatchState:
    """The state as last written; at the ledger's end where none fits it: what was before is not told."""
    path = state_path(workspace)
    try:
        state = DispatchState.of_document(json.loads(path.read_bytes()))
        head = Ledger.of(workspace).head()[0]
        if not 0 <= state.after <= head or any(one.after > head for one in state.webhooks.values()):
            raise ValueError("it is not of this ledger")
        return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        state = DispatchState(Ledger.of(workspace).head()[0])
        write_state(workspace, state)
        return state


def write_state(workspace: Workspace, state: DispatchState) -> None:
    """Write the state, as a whole."""
    write_atomically(state_path(workspace), canonical_json(asdict(state)), PRIVATE)


def behind(workspace: Workspace, state: DispatchState) -> int:
    """How many records were not taken in yet for the webhook that is the furthest behind."""
    head = Ledger.of(workspace).head()[0]
    names = [one.name for one in workspace.settings.notifications.webhooks]
    return head - min((read_up_to(state, name) for name in names), default=head)


def read_up_to(state: DispatchState, webhook: str) -> int:
    """The record up to which the ledger was read for a webhook."""
    known = state.webhooks.get(webhook)
    return state.after if known is None or known.after < 0 else known.after


class Dispatcher:
    """Takes in what was recorded and delivers what is due; one process at a time does so for a workspace."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace = workspace
        self._registry = registry
        self._settings: NotificationSettings = workspace.settings.notifications
        self._state = read_state(workspace)
        self._sending: dict[str, tuple[str, Future[None]]] = {}  # by webhook: one message at a time
        self._put_some = False
        for webhook in self._settings.webhooks:
            self._of(webhook)  # before anything is read for another one
        self._pool = ThreadPoolExecutor(max(1, len(self._settings.webhooks)))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to deliver and nothing was recorded that was not taken in."""
        left = any(self._of(one).pending for one in self._settings.webhooks)
        return not left and behind(self._workspace, self._state) == 0

    def step(self, wait_s: float = 0.5) -> None:
        """Take in what is new and deliver what is due; a slow address holds up nobody but itself."""
        self._take_in()
        now = time.time()
        for webhook in self._settings.webhooks:
            if webhook.name in self._sending:
                continue
            if (due := self._due(webhook, now)) is not None:
                sent = self._pool.submit(self._send, webhook, due)
                self._sending[webhook.name] = (due.id, sent)
        deadline = time.monotonic() + wait_s
        while self._sending and time.monotonic() < deadline:
            if not self._settle():
                time.sleep(0.02)
        self._settle()

    def close(self) -> None:
        """Let go without waiting for addresses that do not reply."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take_in(self) -> None:
        """Take in what was recorded, for each webhook as much as it has room for."""
        over, now, changed = list(self._expired()), time.time(), False
        for webhook in self._settings.webhooks:
            state, before = self._of(webhook), self._of(webhook).after
            for one in over:
                self._put(webhook, one, now)
            if len(state.pending) < _MOST_PENDING:
                self._read(webhook, now)
            changed = changed or state.after != before
            self._state.after = max(self._state.after, state.after)
        if changed or self._put_some:
            self._put_some = False
            write_state(self._workspace, self._state)

    def _read(self, webhook: WebhookSettings, now: float) -> None:
        state, index = self._of(webhook), LedgerIndex.of(self._workspace)
        for record in Ledger.of(self._workspace).records(after=state.after):
            state.after = record.seq
            run = index.run_state(record.run) if record.run is not None and may_tell(record) else None
            for one in notifications_of(record, run):
                self._put(webhook, one, now)
            if len(state.pending) >= _MOST_PENDING:
                return

    def _put(self, webhook: WebhookSettings, one: Notification, now: float) -> None:
        state = self._of(webhook)
        if one.event not in webhook.events or one.id in state.pending or one.id in state.told:
            return
        first = now + (_WAITING_AFTER_S if one.event == "waiting" else 0.0)
        state.pending[one.id] = Pending(asdict(one), since=now, next_at=first)
        self._put_some = True

    def _expired(self) -> Iterator[Notification]:
        try:
            policy = policy_of(self._workspace, self._registry)
        except OpswrightError:  # whoever runs something is told; what happened is told all the same
            return
        if policy.rules.approvals.expire_hours is None:
            return
        index = LedgerIndex.of(self._workspace)
        for row in index.rows(_RUNS_LOOKED_AT, statuses=("approved", "stopped", "failed")):
            if (run := index.run_state(row.run)) is not None:
                yield from expired(run, policy, datetime.now(UTC))

    def _due(self, webhook: WebhookSettings, now: float) -> Notification | None:
        """The oldest message, once it may be tried; what nobody took for too long is given up.

        Others wait for it, so that they come in their order, unless the address refused that one alone.
        """
        state = self._of(webhook)
        for key, one in list(state.pending.items()):
            too_old = one.attempts and now - one.since > self._settings.give_up_hours * 3600
            if too_old or (one.next_at <= now and not self._still_holds(one)):
                del state.pending[key]
                state.given_up += 1 if too_old else 0
                self._tell(state, key)
                write_state(self._workspace, self._state)
            elif one.next_at <= now:
                return Notification(**one.message)
            elif not one.stands_aside:
                return None
        return None

    def _still_holds(self, one: Pending) -> bool:
        """Whether it is worth telling: nobody is told that something waits which does so no more."""
        if one.message["event"] != "waiting":
            return True
        run = LedgerIndex.of(self._workspace).run_state(str(one.message["data"].get("run")))
        return run is not None and run.status == "waiting"

    def _send(self, webhook: WebhookSettings, message: Notification) -> None:
        deliver(webhook, message, int(time.time()), self._settings.timeout_s)

    def _settle(self) -> bool:
        """Write down which messages were taken and which were not; whether there were any."""
        done = [(name, key, sent) for name, (key, sent) in self._sending.items() if sent.done()]
        for name, key, sent in done:
            del self._sending[name]
            state = self._state.webhooks[name]
            pending = state.pending[key]
            error = sent.exception()
            if error is None:
                del state.pending[key]
                state.delivered += 1
                state.last_error = ""
                self._tell(state, key)
                continue
            pending.attempts += 1
            pending.next_at = time.time() + min(
                _FIRST_RETRY_S * 2 ** min(pending.attempts - 1, 12), _LONGEST_RETRY_S
            )
            known = isinstance(error, DeliveryError | OpswrightError)
            pending.stands_aside = isinstance(error, DeliveryError) and error.of_message
            state.last_error = pending.error = str(error) if known else type(error).__name__
        if done:
            write_state(self._workspace, self._state)
        return bool(done)

    def _tell(self, state: WebhookState, key: str) -> None:
        state.told = [*state.told, key][-_KEPT_IDS:]

    def _of(self, webhook: WebhookSettings) -> WebhookState:
        state = self._state.webhooks.setdefault(webhook.name, WebhookState())
        if state.after < 0:  # what was recorded before it was set is not told
            state.after = self._state.after
        return state
