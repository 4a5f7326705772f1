"""A line of the ledger as the index has it: where it lies, and what it is found by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from ...core.references import references_at
from ..ledger import Phase, Record
from ..run_state import RunState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
FIELDS = ("actor", "phase", "run", "step", "skill")
_MADE = frozenset({Phase.DONE, Phase.ROLLED_BACK})


class Link(IntEnum):
    """What a record has to do with an artifact, or with a key."""

    MADE = 1  # the artifact is a result of the step that ended here
    REUSED = 2  # it is the result of an earlier step, taken over here
    USED = 3  # the request of the step that begins here names it
    JUDGED = 4  # the verdict here is about it
    CHANGED = 5  # the change of an endpoint that ended here was made under this idempotency key


class IndexedLine(NamedTuple):
    """A line of the ledger. One that holds no record has a place and a number only: no hash, no fields."""

    number: int  # the line, counted through all segments from 1
    segment: int
    offset: int
    length: int
    seq: int
    hash: int | None  # the first 8 bytes of the record's hash
    time: int | None  # microseconds since 1970, UTC
    actor: str | None
    phase: str | None
    run: str | None
    step: str | None
    skill: str | None

    @classmethod
    def of(cls, record: Record, number: int, segment: int, offset: int, length: int) -> IndexedLine:
        """The line that holds a record."""
        return cls(
            number,
            segment,
            offset,
            length,
            record.seq,
            _number_of_hex(record.hash[:16]),
            microseconds(record.time),
            _text(record.actor),
            _text(str(record.phase)),
            _text(record.run),
            _text(record.step),
            _text(record.skill),
        )

    @property
    def is_damaged(self) -> bool:
        """Whether the line holds no record."""
        return self.phase is None

    def holds(self, record: Record) -> bool:
        """Whether this is still the line of that record, in everything it is found by."""
        return IndexedLine.of(record, *self[:4]) == self


def microseconds(time: str | datetime) -> int | None:
    """A time as microseconds since 1970, UTC; None for a text that is no time."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MICROSECOND


def key_of(text: str) -> int:
    """A text that is looked up (a reference, an idempotency key) as a number of 8 bytes."""
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big", signed=True
    )


def links_of(record: Record, state: RunState | None) -> Iterator[tuple[str, Link]]:
    """What a record is linked with; `state` is that of its run, with the record taken in."""
    phase = record.phase
    if phase == Phase.INTENT or phase == Phase.REUSED:
        for text in _named_in(record.detail.get("request")):
            yield text, Link.USED
    if phase in _MADE or phase == Phase.REUSED:
        for text in record.artifacts.values():
            if isinstance(text, str):
                yield text, Link.REUSED if phase == Phase.REUSED else Link.MADE
    step = state.steps.get(record.step) if state is not None and record.step is not None else None
    if step is None or phase not in _MADE:
        return
    if step.verdict is not None:
        for text in _named_in(step.request):
            yield text, Link.JUDGED
    if record.effect == "serves" and isinstance(step.idempotency_key, str):
        yield step.idempotency_key, Link.CHANGED


def is_linked(record: Record, state: RunState | None, thing: str, link: Link) -> bool:
    """Whether a record is linked with a thing; `state` is that of its run now."""
    if link in (Link.MADE, Link.REUSED):
        return thing in record.artifacts.values()
    if link is Link.USED:
        return thing in _named_in(record.detail.get("request"))
    step = state.steps.get(record.step) if state is not None and record.step is not None else None
    if step is None:
        return False
    return thing in _named_in(step.request) if link is Link.JUDGED else thing == step.idempotency_key


def _named_in(value: object) -> set[str]:
    """The artifacts that a recorded request names, at any depth."""
    return {ref for _, ref in references_at(value)}


def _number_of_hex(digits: str) -> int | None:
    try:
        number = int(digits, 16)
    except ValueError:
        return None
    return number - (1 << 64) if number >= 1 << 63 else number


def _text(value: object) -> str | None:
    """The value if it is a text that UTF-8 can hold: half a surrogate pair can be written in JSON."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() else value.encode(errors="replace").decode()
