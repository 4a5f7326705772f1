"""What changed between two leaderboards: of each model its value before and now, and what that shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from ..core.artifact_refs import parse_ref
from ..core.artifacts import ArtifactStore
from ..core.errors import AskError, IntegrityError
from .head_to_head import compare, find_line, open_measured
from .leaderboard import LeaderboardRow

_MAX_BYTES = 16 << 20
PAIRED, BY_INTERVALS = "the same items", "intervals alone"


@dataclass(frozen=True)
class BoardDifference:
    """Now minus before, with its 95 % interval. basis: what it rests on."""

    difference: float
    low: float
    high: float
    basis: str

    @property
    def finding(self) -> str:
        """What the interval shows."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not shown to differ"


@dataclass(frozen=True)
class BoardChange:
    """One model on one suite that is new, gone, measured again, or judged otherwise.

    against: what a new model is held against, the base's best of the suite; `why_not` says why nothing is.
    """

    what: str
    suite: str
    model: str
    before: LeaderboardRow | None
    now: LeaderboardRow | None
    against: LeaderboardRow | None = None
    difference: BoardDifference | None = None
    why_not: str = ""

    @property
    def finding(self) -> str:
        """What the figures show, in words."""
        return self.difference.finding if self.difference is not None else self.why_not

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "finding": self.finding}


def read_board(base: str, now: Sequence[LeaderboardRow]) -> tuple[LeaderboardRow, ...]:
    """The lines of a leaderboard that was exported as JSON, or the one of a model or report here.

    AskError for a file that is no such export. A file is data from outside: every figure is checked.
    """
    path = Path(base)
    if not path.is_file():
        if path.suffix == ".json":
            raise AskError(
                f"no leaderboard at {path}: `opswright leaderboard --json -o {path.name}` writes one."
            )
        return (find_line(list(now), base),)
    from pydantic import TypeAdapter, ValidationError

    if path.stat().st_size > _MAX_BYTES:
        raise AskError(f"{path} is too large for a leaderboard (at most {_MAX_BYTES} bytes).")
    try:
        lines = TypeAdapter(list[LeaderboardRow]).validate_python(json.loads(path.read_bytes()))
    except (ValidationError, ValueError, RecursionError) as error:
        raise AskError(
            f"{path} is no exported leaderboard: `opswright leaderboard --json -o {path.name}` writes one."
        ) from error
    for line in lines:
        if (
            not all(map(isfinite, (line.low, line.value, line.high)))
            or not line.low <= line.value <= line.high
        ):
            raise AskError(f"{path}: the value of {line.name} on {line.suite} does not lie in its interval.")
    return tuple(lines)


def board_diff(
    base: Sequence[LeaderboardRow], now: Sequence[LeaderboardRow], store: ArtifactStore
) -> list[BoardChange]:
    """Every change from the base until now, by suite; what is as it was is left out.

    Models measured on the same items are compared item by item where the store has both reports, else by
    their intervals. IntegrityError when the base tells another value than its report in the store.
    """
    before, after = _newest(base), _newest(now)
    for line in before.values():
        _check_told(line, store)
    changes = [*_of_now(before, after, base, store), *_gone(before, after)]
    return sorted(changes, key=lambda one: (one.suite, one.what == "gone", -_value(one), one.model))


def _of_now(
    before: dict[tuple[str, str], LeaderboardRow],
    after: dict[tuple[str, str], LeaderboardRow],
    base: Sequence[LeaderboardRow],
    store: ArtifactStore,
) -> Iterator[BoardChange]:
    for key, line in after.items():
        old = before.get(key)
        if old is None:
            best = _best(base, line)
            difference, why_not = _difference(best, line, store)
            yield BoardChange("new", line.suite, line.name, None, line, best, difference, why_not)
        elif (old.value, old.n, old.suite_digest, old.metric) != (
            line.value,
            line.n,
            line.suite_digest,
            line.metric,
        ):
            difference, why_not = _difference(old, line, store)
            yield BoardChange("measured again", line.suite, line.name, old, line, old, difference, why_not)
        elif old.verdict != line.verdict:
            yield BoardChange("judged", line.suite, line.name, old, line, None, None, "same figures")


def _gone(
    before: dict[tuple[str, str], LeaderboardRow], after: dict[tuple[str, str], LeaderboardRow]
) -> Iterator[BoardChange]:
    for key, line in before.items():
        if key not in after:
            yield BoardChange("gone", line.suite, line.name, line, None, None, None, "not measured here")


def _newest(lines: Sequence[LeaderboardRow]) -> dict[tuple[str, str], LeaderboardRow]:
    """The newest line of each model, or baseline, on each suite."""
    found: dict[tuple[str, str], LeaderboardRow] = {}
    for line in sorted(lines, key=lambda one: (one.date, one.record or 0)):
        found[line.suite, f"{line.kind}/{line.model}" if line.kind == "baseline" else line.model] = line
    return found


def _best(base: Sequence[LeaderboardRow], line: LeaderboardRow) -> LeaderboardRow | None:
    """The base's best model on the line's suite, of its version where it has one; baselines are no models."""
    models = [one for one in base if one.suite == line.suite and one.is_baseline == line.is_baseline]
    same = [one for one in models if (one.suite_digest, one.metric) == (line.suite_digest, line.metric)]
    return max(same or models, key=lambda one: one.value, default=None)


def _difference(
    old: LeaderboardRow | None, line: LeaderboardRow, store: ArtifactStore
) -> tuple[BoardDifference | None, str]:
    if old is None:
        return None, "nothing to hold it against"
    if old.suite_digest != line.suite_digest:
        return None, "another version of the suite"
    if old.metric != line.metric:
        return None, f"another metric ({old.metric})"
    if _is_in(store, old) and _is_in(store, line):
        with suppress(AskError):  # no answers of a baseline were kept, or no item in common
            found = compare(open_measured(store, old), open_measured(store, line)).whole
            return BoardDifference(found.difference, found.low, found.high, PAIRED), ""
    difference = line.value - old.value  # Newcombe's square-and-add of two independent intervals
    low = difference - sqrt((line.value - line.low) ** 2 + (old.high - old.value) ** 2)
    high = difference + sqrt((line.high - line.value) ** 2 + (old.value - old.low) ** 2)
    return BoardDifference(difference, low, high, BY_INTERVALS), ""


def _is_in(store: ArtifactStore, line: LeaderboardRow) -> bool:
    """Whether the store has a line's report; a text that is no report is in no store."""
    try:
        ref = parse_ref(line.report)
    except AskError:
        return False
    return ref.kind == "eval-report" and (store.folder(ref) / "artifact.json").is_file()


def _check_told(line: LeaderboardRow, store: ArtifactStore) -> None:
    if not _is_in(store, line):
        return
    facts = store.open(parse_ref(line.report)).facts
    told = facts["baselines"].get(line.model, {}) if line.kind == "baseline" else facts
    if told.get("value") != line.value:
        raise IntegrityError(
            f"the base says that {line.name} has {line.value:g} on {line.suite}, its report "
            f"{line.report[:24]} says {told.get('value')}. Export the leaderboard anew."
        )


def _value(change: BoardChange) -> float:
    line = change.now or change.before
    return line.value if line is not None else 0.0
