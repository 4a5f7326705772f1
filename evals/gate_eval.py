"""A gate's judgement: measured items against the criteria a plan fixed before training.

A row is GO only when the data show it: a value above its bar with an interval that reaches below it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.errors import AskError, did_you_mean
from ..core.gate import Check, Decision, GateSpec, Verdict
from ..core.statistics import Paired
from ..core.suite_source import suite_name
from .head_to_head import common_items, count
from .report import figure
from .runner import EvalResult, SampleResult

_NOT_COMPARED = "no stable release yet: not compared"


@dataclass(frozen=True)
class Incumbent:
    """The endpoint's stable release and its report on the same suite; `command` makes a missing report."""

    release: str
    report: EvalResult | None
    command: str


def judge(spec: GateSpec, measured: EvalResult, incumbent: Incumbent | None) -> Verdict:
    """The verdict of a gate on one report. `incumbent` is None when the endpoint has no stable release.

    Raises AskError for a suite, metric or slice that the report does not have, and for a `max_drop` without
    `against`.
    """
    check_spec(spec, measured)
    return Verdict.of(
        [*_health(spec, measured), *_bars(spec, measured), *_against(spec, measured, incumbent)]
    )


def check_spec(spec: GateSpec, measured: EvalResult) -> None:
    """AskError naming what a gate asks for and a report does not have."""
    if suite_name(spec.suite) != measured.suite:
        raise AskError(f"the gate judges suite '{spec.suite}', the report is of '{measured.suite}'.")
    if spec.metric not in measured.scorers:
        raise AskError(
            f"unknown metric '{spec.metric}' (the report has: {', '.join(measured.scorers)})."
            + did_you_mean(spec.metric, measured.scorers)
        )
    for name, bar in spec.slices.items():
        if name not in measured.slices:
            known = ", ".join(measured.slices) or "none"
            raise AskError(
                f"slice '{name}' is not in the report (it has: {known})."
                f"{did_you_mean(name, measured.slices)} `slices` of evaluate names more."
            )
        if bar.min is None and bar.max_drop is None:
            raise AskError(f"slice '{name}' of the gate needs `min` or `max_drop`.")
        if bar.max_drop is not None and spec.against is None:
            raise AskError(f"slice '{name}' has a `max_drop`, which needs `against: stable`.")
    if spec.min is None and not spec.slices and spec.against is None:
        raise AskError("the gate has no criteria. Add `min`, `slices` or `against`.")


def _health(spec: GateSpec, measured: EvalResult) -> Iterator[Check]:
    """Rows for what makes every other row doubtful; none when all is well."""
    if measured.errors:
        yield Check(
            name="errors",
            decision=Decision.INCONCLUSIVE,
            got=measured.errors,
            bar=0,
            n=len(measured.items),
            message=f"{measured.errors} of {len(measured.items)} items got no answer: the target failed",
        )
    if measured.leaked:
        yield Check(
            name="leaked items",
            decision=Decision.INCONCLUSIVE,
            got=measured.leaked,
            bar=0,
            n=len(measured.items),
            message=f"{measured.leaked} items are in its training rows: curate with `golden`, train again",
        )


def _bars(spec: GateSpec, measured: EvalResult) -> Iterator[Check]:
    if spec.min is not None:
        yield _bar(spec, spec.metric, measured.items, spec.min, measured.scorers[spec.metric])
    for name, slice_bar in spec.slices.items():
        if slice_bar.min is not None:
            row = f"{spec.metric} on {name}"
            yield _bar(spec, row, measured.within(name), slice_bar.min, measured.scorers[spec.metric])


def _bar(spec: GateSpec, name: str, items: Sequence[SampleResult], bar: float, is_binary: bool) -> Check:
    """One value against its least: below is NO_GO, an interval that reaches below is INCONCLUSIVE."""
    found = figure(items, spec.metric, is_binary)
    value, low, high, n = found["value"], found["low"], found["high"], len(items)
    if n < spec.min_items:
        decision, message = Decision.INCONCLUSIVE, f"only {n} items, the gate wants {spec.min_items}"
    elif value < bar:
        decision, message = Decision.NO_GO, f"{value:.1%} is below {bar:.1%}"
    elif low < bar:
        decision, message = (
            Decision.INCONCLUSIVE,
            f"{value:.1%} reaches {bar:.1%}, but its 95% interval begins at {low:.1%}: more items would tell",
        )
    else:
        decision, message = Decision.GO, f"{value:.1%}, 95% interval {low:.1%} to {high:.1%}, bar {bar:.1%}"
    return Check(
        name=name,
        decision=decision,
        got=value,
        bar=bar,
        n=n,
        interval=(low, high) if n else None,
        message=message,
    )


def _against(spec: GateSpec, measured: EvalResult, incumbent: Incumbent | None) -> Iterator[Check]:
    if spec.against is None:
        return
    names = {None: f"{spec.metric} against stable"} | {
        name: f"drop on {name} against stable"
        for name, bar in spec.slices.items()
        if bar.max_drop is not None
    }
    if incumbent is None:
        yield from (Check(name=row, decision=Decision.GO, message=_NOT_COMPARED) for row in names.values())
        return
    stable = incumbent.report
    if stable is None or stable.suite_digest != measured.suite_digest:
        message = (
            f"stable release {incumbent.release} has no report on this suite; make one with "
            f"`{incumbent.command}` and repeat the gate"
        )
        yield from (
            Check(name=row, decision=Decision.INCONCLUSIVE, message=message) for row in names.values()
        )
        return
    for name, row in names.items():
        both = count(common_items(stable, measured, name), spec.metric)
        drop = spec.slices[name].max_drop if name is not None else None
        yield _overall(spec, row, both) if drop is None else _drop(spec, row, both, drop)


def _overall(spec: GateSpec, row: str, both: Paired) -> Check:
    """Exact McNemar: significantly worse is NO_GO."""
    p = both.p_value
    count = (
        f"of {both.n} common items {both.lost} were right before and are wrong now, {both.won} the reverse"
    )
    if both.n < spec.min_items:
        decision, message = (
            Decision.INCONCLUSIVE,
            f"only {both.n} common items, the gate wants {spec.min_items}",
        )
    elif both.lost > both.won and p < spec.alpha:
        decision, message = Decision.NO_GO, f"significantly worse: {count} (exact McNemar p={p:.2g})"
    elif both.won > both.lost and p < spec.alpha:
        decision, message = Decision.GO, f"significantly better: {count} (exact McNemar p={p:.2g})"
    else:
        decision, message = Decision.GO, f"not significantly worse: {count} (exact McNemar p={p:.2g})"
    return Check(
        name=row,
        decision=decision,
        got=-both.drop if both.n else None,
        bar=0.0,
        n=both.n,
        interval=_flipped(both) if both.n else None,
        p_value=p,
        message=message,
    )


def _drop(spec: GateSpec, row: str, both: Paired, most: float) -> Check:
    """A paired drop against the largest one allowed, with the 95% interval of the drop."""
    low, high = both.drop_interval()
    if both.n < spec.min_items:
        decision, message = (
            Decision.INCONCLUSIVE,
            f"only {both.n} common items, the gate wants {spec.min_items}",
        )
    elif both.drop > most:
        decision, message = Decision.NO_GO, f"dropped by {both.drop:.1%}, at most {most:.1%} is allowed"
    elif high > most:
        decision, message = (
            Decision.INCONCLUSIVE,
            f"dropped by {both.drop:.1%}, but the 95% interval reaches {high:.1%}, allowed is {most:.1%}",
        )
    else:
        decision, message = (
            Decision.GO,
            f"dropped by {both.drop:.1%}, at most {high:.1%}, allowed is {most:.1%}",
        )
    return Check(
        name=row,
        decision=decision,
        got=both.drop if both.n else None,
        bar=most,
        n=both.n,
        interval=(low, high) if both.n else None,
        p_value=both.p_value,
        message=f"{message} ({both.lost} lost, {both.won} won)",
    )


def _flipped(both: Paired) -> tuple[float, float]:
    low, high = both.drop_interval()
    return -high, -low
