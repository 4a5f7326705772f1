"""The rows of a verdict that are tests: bars, drops, other suites, latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import fmean

from ..core.gate import DEFAULT_MAX_DROP, Check, Decision, GateSpec, RobustnessBar, SuiteBar, Tier, Unit
from ..core.statistics import BarTest, holm_rejections, mcnemar_one_sided, share_at_least
from ..core.statistics.power import fewest_right
from .contamination import MatchKind
from .gate_scores import ShareOrMean, check_items, common_pairs, drops_on, scores_on, variant_pairs, without
from .paraphrases import too_few_usable
from .runner import EvalResult, SampleResult
from .selection import in_words

_P95 = 0.95
_UNEVEN = 0.02  # points between the mean over groups and over items, below which sizes do not matter


@dataclass(frozen=True)
class GateRow:
    """One criterion: its test, or why there is none; `note` is what a reader of the figures must know.

    vacuous: why a GO of it would say nothing.
    """

    name: str
    tier: Tier
    test: BarTest | None
    failure: str = ""
    note: str = ""
    vacuous: str = ""
    unit: Unit = "share"
    decision: Decision = Decision.INCONCLUSIVE  # where there is no test
    n: int | None = None  # these three where there is no test
    got: float | None = None
    bar: float | None = None


@dataclass(frozen=True)
class RequiredReport:
    """A model's report on a suite that a gate requires.

    of: items the suite has. leaked: ids of those in its training rows; None: which ones is not known.
    is_meant: whether it is known that this is the suite; by a name alone, that only files have, it is not.
    chose: items that decided which weights were kept, by how alike they are.
    """

    measured: EvalResult
    of: int = 0
    leaked: frozenset[str] | None = None
    is_meant: bool = True
    chose: Counter[MatchKind] = field(default_factory=Counter)


def bar_row(name: str, tier: Tier, scores: ShareOrMean, bar: float, spec: GateSpec) -> GateRow:
    """Scores against the least they must be."""
    if few := _too_few(scores.n, spec):
        failure = "; ".join(filter(None, (few, _counted(scores))))
        return GateRow(name, tier, None, failure, n=scores.n)
    test = scores.at_least(bar, spec.level)
    hidden = _hidden_in_groups(scores, test, "%", lambda whole: whole < bar)
    return GateRow(name, tier, test, note=_counted(scores), vacuous=hidden)


def _hidden_in_groups(scores: ShareOrMean, test: BarTest, unit: str, misses: Callable[[float], bool]) -> str:
    """Why a bar that groups meet says little: by items it is missed, as when what fails is in few groups."""
    whole = scores.per_item
    if whole is None or not misses(whole) or abs(test.got - whole) < _UNEVEN:
        return ""
    return (
        f"{100 * test.got:.1f} {unit} with every group counted alike, {100 * whole:.1f} with every item: "
        "what fails is in few large groups. Group by what is one observation (a talk, a question in other "
        "words), or ask for less"
    )


def no_drop_rows(spec: GateSpec, failure: str) -> Iterator[GateRow]:
    """The comparisons with stable when there is nothing to compare with, and why."""
    yield GateRow(_drop_name(spec), spec.tier, None, failure, unit="points")
    for name, bar in spec.slices.items():
        if bar.max_drop is not None:
            yield GateRow(_drop_name(spec, name), bar.tier, None, failure, unit="points")


def _drop_name(spec: GateSpec, within: str | None = None) -> str:
    return f"drop of {spec.metric}" + (f" on {within}" if within is not None else "")


def drop_rows(
    spec: GateSpec, before: EvalResult, now: EvalResult, trivial: EvalResult | None
) -> Iterator[GateRow]:
    """The comparisons with stable: over all items, and for each slice with a `max_drop`."""
    why = f"the default margin of {100 * DEFAULT_MAX_DROP:g} points" if spec.max_drop is None else ""
    yield _drop_row(spec.tier, spec, (before, now, trivial), None, spec.margin, why)
    for name, bar in spec.slices.items():
        if bar.max_drop is not None:
            yield _drop_row(bar.tier, spec, (before, now, None), name, bar.max_drop, "")


def _drop_row(
    tier: Tier,
    spec: GateSpec,
    sides: tuple[EvalResult, EvalResult, EvalResult | None],
    within: str | None,
    margin: float,
    why: str,
) -> GateRow:
    before, now, trivial = sides
    name = _drop_name(spec, within)
    pairs = common_pairs(before, now, within)
    drops = drops_on(pairs, spec.metric)
    if few := _too_few(drops.n, spec):
        return GateRow(name, tier, None, f"{few} that both models were asked", unit="points", n=drops.n)
    test = drops.drop_at_most(margin, spec.level)
    notes = [why, _counted(drops), *([_changed(drops)] if drops.binary else [])]
    vacuous = _hidden_in_groups(drops, test, "points", lambda whole: whole >= margin)
    if not vacuous and rise_p(drops) > spec.level:  # a rise needs no margin
        usual = fmean(scores_on([item for item, _ in pairs], spec.metric).worst)
        vacuous = _says_little(usual, trivial, pairs, spec.metric, margin)
    return GateRow(name, tier, test, note="; ".join(filter(None, notes)), vacuous=vacuous, unit="points")


def _says_little(
    usual: float,
    trivial: EvalResult | None,
    pairs: Sequence[tuple[SampleResult, SampleResult]],
    metric: str,
    margin: float,
    whose: str = "stable itself",
) -> str:
    """Why staying within a margin would show nothing: there is little to lose; empty when there is more."""
    floor, floor_name = 0.0, "no right answer at all"
    if trivial is not None:
        asked = {now.id for _, now in pairs}
        floor = fmean(scores_on([item for item in trivial.items if item.id in asked], metric).worst)
        floor_name = f"the trivial baseline {trivial.model} ({floor:.1%})"
    if margin <= (usual - floor) / 2 + 1e-12:
        return ""
    most = 100 * (usual - floor) / 2
    return (
        f"{whose} has {usual:.1%} here, so a margin of {100 * margin:.3g} points is more than half of "
        f"its lead over {floor_name}: staying within it shows nothing. Set a `min`"
        + (f", or a `max_drop` of at most {most:.3g} points" if most >= 0.5 else "")
    )


def trivial_row(spec: GateSpec, measured: EvalResult, trivial: EvalResult) -> GateRow | None:
    """Whether the model is better than the trivial baseline, needed for GO; None when that has no scores."""
    pairs = common_pairs(trivial, measured, None)
    if not any(trivial_item.score(spec.metric) is not None for trivial_item, _ in pairs):
        return None
    p = rise_p(drops := drops_on(pairs, spec.metric))
    message = (
        f"{'' if p <= spec.level else 'not '}shown to be better than the trivial baseline {trivial.model}: "
        f"{-100 * fmean(drops.worst):+.1f} points on {drops.counted} (p {_p(p)})"
    )
    decision = Decision.GO if p <= spec.level else Decision.INCONCLUSIVE
    name = f"better than {trivial.model}"
    return GateRow(name, Tier.CRITICAL, None, message, unit="points", decision=decision, n=drops.n)


def rise_p(drops: ShareOrMean) -> float:
    """One-sided p-value against "no better than before": exact McNemar, else the t-test of drops."""
    if drops.binary:
        return mcnemar_one_sided(sum(drop > 0 for drop in drops.worst), sum(drop < 0 for drop in drops.worst))
    return drops.drop_at_most(0.0, 0.05).p_go


def suite_rows(
    spec: GateSpec, measured: EvalResult, found: Mapping[str, Sequence[RequiredReport]]
) -> Iterator[GateRow]:
    """The bars on other suites; a suite without a report of the model is NO_GO.

    Where nobody knows which suite of a name is meant, each must not be shown bad, and none is GO.
    """
    for name, bar in spec.suites.items():
        versions = {one.measured.suite_digest: one for one in found.get(name, ()) if one.measured.items}
        metric = bar.metric or next((one.measured.metric for one in versions.values()), "score")
        row = f"{metric} on suite {name}"
        if not versions:
            fix = f"`opswright evaluate model={measured.model} suite={bar.suite or name}`"
            missing = f"required, and {measured.model} has no report on it: {fix}"
            yield GateRow(row, bar.tier, None, missing, decision=Decision.NO_GO)
        elif len(versions) == 1 and all(report.is_meant for report in versions.values()):
            yield from (_suite_row(row, bar, metric, report, spec) for report in versions.values())
        else:
            several = f"{measured.model} has reports on {len(versions)} suites of this name"
            fix = "nothing says which file is meant. Name it in the gate: `suite: FILE` beside its `min`"
            yield GateRow(row, bar.tier, None, f"{several} ({', '.join(d[:12] for d in versions)}): {fix}")
            for digest, report in versions.items():
                yield _suite_row(f"{row} ({digest[:12]})", bar, metric, report, spec)


def _suite_row(name: str, bar: SuiteBar, metric: str, report: RequiredReport, spec: GateSpec) -> GateRow:
    """The bar on one other suite, by all of its items but those that are known to be leaked."""
    measured, known = report.measured, report.leaked or frozenset()
    if len(measured.items) < report.of:
        few = f"the report has {len(measured.items):,} of the suite's {report.of:,} items: evaluate all"
        return GateRow(name, bar.tier, None, few, n=len(measured.items))
    if report.chose:
        chose = (
            f"{report.chose.total()} of its items decided which weights were kept (`keep_by`; "
            f"{in_words(report.chose)}): require another suite"
        )
        return GateRow(name, bar.tier, None, chose, n=len(measured.items))
    if measured.leaked and (spec.leaked == "hold" or len(known) < measured.leaked):
        leaked = f"{measured.leaked} of its items are in the model's training rows"
        if spec.leaked == "leave_out":
            leaked += f"; of {measured.leaked - len(known)} it is not known which they are"
        return GateRow(name, bar.tier, None, leaked)
    check_items(measured, metric)
    if spec.leaked == "hold" or not known:
        return bar_row(name, bar.tier, scores_on(measured.items, metric), bar.min, spec)
    row = bar_row(name, bar.tier, scores_on(without(measured, known).items, metric), bar.min, spec)
    left_out = f"{len(known)} of its items are in training rows and were left out"
    failure, note = ("; ".join(filter(None, (said, left_out))) for said in (row.failure, row.note))
    return replace(row, failure=failure, note=note)


def latency_row(spec: GateSpec, measured: EvalResult) -> GateRow | None:
    """The 95th percentile against its bar: an exact test of the share of answers that are in time."""
    if spec.latency is None:
        return None
    name, tier, most = "p95 latency", spec.latency.tier, spec.latency.max_p95_ms
    waited = sorted(item.latency_ms for item in measured.items if item.latency_ms is not None)
    n = len(measured.items)
    if not waited or (few := _too_few(n, spec)):
        return GateRow(name, tier, None, few if waited else "the report holds no latencies", unit="ms")
    in_time = sum(ms <= most for ms in waited)
    share = share_at_least(in_time, in_time + n - len(waited), n, _P95, spec.level)
    low, high = _p95_bounds(waited, spec.level)
    got = waited[min(len(waited) - 1, int(_P95 * len(waited)))]
    test = replace(share, got=got, bar=most, low=low, high=high)
    note = f"{in_time:,} of {n:,} answers within {most:g} ms, as they were waited for in this evaluation"
    return GateRow(name, tier, test, note=note, unit="ms")


def cost_row(spec: GateSpec, measured: EvalResult) -> GateRow | None:
    """What 1,000 such answers cost, one after another, at the machine's price; measured, not inferred."""
    if spec.cost is None:
        return None
    name, tier, most = "cost of 1,000 answers", spec.cost.tier, spec.cost.max_usd_per_1000
    waited = [item.latency_ms for item in measured.items if item.latency_ms is not None]
    if not waited:
        return GateRow(name, tier, None, "the report holds no latencies", unit="usd", bar=most)
    usd = fmean(waited) / 3600 * spec.cost.usd_per_hour  # ms of one are s of 1,000
    decision = Decision.GO if usd <= most else Decision.NO_GO
    message = f"one answer after another on a machine of ${spec.cost.usd_per_hour:g} an hour; not inferred"
    return GateRow(name, tier, None, message, unit="usd", decision=decision, n=len(waited), got=usd, bar=most)


def robustness_rows(spec: GateSpec, measured: EvalResult) -> Iterator[GateRow]:
    """The drop under each alteration that is wanted, or was measured, against the same items as they are."""
    if spec.robustness is None:
        return
    wanted = spec.robustness.alterations
    if not (wanted or measured.variants):
        failure = "the report has no altered items: evaluate with `robustness`"
        name = f"drop of {spec.metric} on altered items"
        yield GateRow(name, spec.robustness.tier, None, failure, unit="points")
    for alteration in wanted or measured.variants:
        yield _robustness_row(spec, spec.robustness, measured, alteration)


def _robustness_row(spec: GateSpec, bar: RobustnessBar, measured: EvalResult, alteration: str) -> GateRow:
    name = f"drop of {spec.metric} with {alteration}"
    few = too_few_usable(measured.paraphrases, len(measured.items)) if alteration == "paraphrase" else ""
    if few or alteration not in measured.variants:
        missing = few or (
            f"required, and the report has no items so altered: evaluate with `robustness: "
            f"[{', '.join(bar.alterations)}]`; one that changes no item of the suite cannot be required"
        )
        tier = bar.tier if bar.tier is Tier.ADVISORY else Tier.CRITICAL  # not measured is not "not shown bad"
        return GateRow(name, tier, None, missing, unit="points")
    pairs = variant_pairs(measured, alteration)
    drops = drops_on(pairs, spec.metric)
    if few := _too_few(drops.n, spec):
        return GateRow(name, bar.tier, None, f"{few} that it changes", unit="points", n=drops.n)
    test = drops.drop_at_most(bar.max_drop, spec.level)
    usual = fmean(scores_on([plain for plain, _ in pairs], spec.metric).worst)
    vacuous = _says_little(usual, None, pairs, spec.metric, bar.max_drop, "the model itself")
    return GateRow(name, bar.tier, test, note=_counted(drops), vacuous=vacuous, unit="points")


def decided(rows: Sequence[GateRow], spec: GateSpec) -> list[Check]:
    """The rows with their decisions: GO each at alpha, NO_GO by Holm over all that can decide.

    A bad release has a bad row, whose own test would have to err for a GO: no correction is needed there
    (Berger, Technometrics 24 (1982) 295-300). Advisory rows are outside: they are decided each at alpha.
    """
    family = [row for row in rows if row.test is not None and row.tier is not Tier.ADVISORY]
    rejected = holm_rejections([row.test.p_nogo for row in family if row.test is not None], spec.level)
    bad = {id(row) for row, is_bad in zip(family, rejected, strict=True) if is_bad}
    return [_check(row, id(row) in bad, spec, len(family)) for row in rows]


def _check(row: GateRow, is_bad: bool, spec: GateSpec, rows: int) -> Check:
    test = row.test
    if test is None:
        return Check(
            name=row.name,
            decision=row.decision,
            got=row.got,
            bar=row.bar,
            n=row.n,
            tier=row.tier,
            unit=row.unit,
            message=row.failure,
        )
    if row.tier is Tier.ADVISORY:
        is_bad, rows = test.p_nogo <= spec.level, 1
    decision = Decision.NO_GO if is_bad else Decision.INCONCLUSIVE
    if not is_bad and test.p_go <= spec.level:
        decision = Decision.GO
    vacuous = row.vacuous if decision is Decision.GO else ""
    if vacuous:
        decision = Decision.INCONCLUSIVE
    check = Check(
        name=row.name,
        decision=decision,
        got=test.got,
        bar=test.bar,
        n=test.n,
        interval=(test.low, test.high) if isfinite(test.high) else None,
        level=1 - 2 * spec.level,
        p_go=test.p_go,
        p_nogo=test.p_nogo,
        unit=row.unit,
        tier=row.tier,
    )
    return check.model_copy(update={"message": vacuous or _meaning(check, test, row, spec.level, rows)})


def _meaning(check: Check, test: BarTest, row: GateRow, level: float, rows: int) -> str:
    bar = check.in_words(test.bar)
    good, bad = ("at least", "below") if row.unit == "share" else ("under", "over")
    match check.decision:
        case Decision.GO:
            said = f"shown to be {good} {bar} (p {_p(test.p_go)})"
        case Decision.NO_GO:
            said = f"shown to be {bad} {bar} (p {_p(test.p_nogo)})"
        case Decision.INCONCLUSIVE:
            p = f"p {_p(test.p_go)} and {_p(test.p_nogo)}"
            more = _more(test, level, rows)
            said = f"shown to be neither {good} nor {bad} {bar} ({p}); {more}"
    return f"{said}; {row.note}" if row.note else said


def _more(test: BarTest, level: float, rows: int) -> str:
    """What would decide a row that is not decided, among so many that share a level."""
    if test.turns_on_answers:
        return "not by more items alone: what got no answer leaves it open on which side of the bar it is"
    needed = test.needed(level, rows)
    if needed is None:
        return "not by more items: it would take over 10 times as many"
    return f"about {needed:,} in all ({needed - test.n:,} more) would decide, if the figures hold"


def _too_few(n: int, spec: GateSpec) -> str:
    least = max(spec.min_items, 1)
    return "" if n >= least else f"only {n} items or groups of items, where the gate wants {least}"


def _counted(scores: ShareOrMean) -> str:
    unanswered = sum(worst != best for worst, best in zip(scores.worst, scores.best, strict=True))
    said = [] if scores.n == scores.items else [scores.counted]
    if unanswered:
        said.append(f"{unanswered} without an answer count as wrong for GO and as right for NO_GO")
    return "; ".join(said)


def _changed(drops: ShareOrMean) -> str:
    lost, won = sum(drop > 0 for drop in drops.worst), sum(drop < 0 for drop in drops.worst)
    return f"of {drops.n:,} common items {lost:,} were right before and are wrong now, {won:,} the reverse"


def _p95_bounds(waited: Sequence[float], alpha: float) -> tuple[float, float]:
    """One-sided bounds of the 95th percentile: order statistics, by the binomial test."""
    n = len(waited)
    upper = fewest_right(n, _P95, alpha)
    high = waited[upper - 1] if upper is not None else float("inf")
    slow = fewest_right(n, 1 - _P95, alpha)  # as many slower ones show that more than 5 % are
    low = waited[n - slow] if slow is not None else 0.0
    return low, high


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"
