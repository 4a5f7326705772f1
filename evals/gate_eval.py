"""A gate's judgement: measured items against the criteria a plan fixed before training.

GO needs every critical row shown to be good; NO_GO needs one row shown to be bad; whatever is shown neither
way is INCONCLUSIVE, with the number of items that would tell. Both errors have at most the gate's alpha.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.errors import AskError, did_you_mean
from ..core.gate import Check, Decision, GateSpec, Tier, Verdict
from ..core.suite_source import suite_name
from ..data.alterations import ALTERATIONS
from .contamination import MatchKind
from .gate_rows import (
    GateRow,
    RequiredReport,
    bar_row,
    cost_row,
    decided,
    drop_rows,
    latency_row,
    no_drop_rows,
    robustness_rows,
    suite_rows,
    trivial_row,
)
from .gate_scores import check_items, scores_on, without
from .runner import EvalResult
from .selection import in_words


@dataclass(frozen=True)
class Incumbent:
    """The endpoint's stable release and its report on the same suite; `command` makes a missing report."""

    release: str
    report: EvalResult | None
    command: str


@dataclass(frozen=True)
class GateEvidence:
    """What is known around a report; what is not known is left out, and then nothing is said of it.

    leaked: ids of items in the training rows of the model or of stable; None: which ones is not known.
    trivial: the trivial baseline's answers; trivial_stands_in: they are the suite's own most frequent answer,
    in the place of a report's; trivial_unknown: why there are none, where a model must beat some.
    better_baselines: other baselines above the model, by share. shortcuts: rules that know one thing, which
    the model is not shown to be better than, by share.
    own_answers: training rows that an endpoint of the workspace answered.
    suites: the model's reports on required suites, one for each version. answers_trained: of the suite's
    different right answers, how many occur in the training rows, and how many there are. losses: validation
    loss first and last. chose_weights: items that decided which weights were kept, by how alike they are.
    candidates: models judged on this suite, this one included. looks: numbers of items this model was judged
    on before; looks_at_others: of other versions of the suite, as before it grew.
    """

    leaked: frozenset[str] | None = None
    trivial: EvalResult | None = None
    trivial_stands_in: bool = False
    trivial_unknown: str = ""
    better_baselines: Mapping[str, float] = field(default_factory=dict)
    own_answers: int = 0
    shortcuts: Mapping[str, float] = field(default_factory=dict)
    suites: Mapping[str, Sequence[RequiredReport]] = field(default_factory=dict)
    answers_trained: tuple[int, int] | None = None
    losses: tuple[float, float] | None = None
    chose_weights: Counter[MatchKind] = field(default_factory=Counter)
    candidates: int | None = None
    looks: tuple[int, ...] = ()
    looks_at_others: tuple[int, ...] = ()


NO_EVIDENCE = GateEvidence()


def judge(
    spec: GateSpec,
    measured: EvalResult,
    incumbent: Incumbent | None,
    evidence: GateEvidence = NO_EVIDENCE,
) -> Verdict:
    """The verdict of a gate on one report. `incumbent` is None when the endpoint has no stable release.

    Raises AskError for a suite, metric or slice that the report does not have, and for criteria that no
    figures could meet or fail.
    """
    spec = spec.model_copy(update={"metric": spec.metric or measured.metric})
    check_spec(spec, measured)
    findings = list(_findings(spec, measured, evidence))
    if spec.leaked == "leave_out" and evidence.leaked:
        measured = without(measured, evidence.leaked)
        if incumbent is not None and incumbent.report is not None:
            incumbent = replace(incumbent, report=without(incumbent.report, evidence.leaked))
    rows = [
        *_bars(spec, measured),
        *_against(spec, measured, incumbent, evidence.trivial),
        *suite_rows(spec, measured, evidence.suites),
        *filter(None, (latency_row(spec, measured), cost_row(spec, measured))),
        *robustness_rows(spec, measured),
    ]
    if evidence.trivial is not None and (row := trivial_row(spec, measured, evidence.trivial)):
        beaten = evidence.trivial_stands_in and row.decision is Decision.GO
        rows += [] if beaten else [row]  # what stands in takes no bar's place
    verdict = Verdict.of([*findings, *decided(rows, spec)])
    notes = tuple(_notes(spec, measured, incumbent, evidence, verdict))
    return verdict.model_copy(update={"notes": notes})


def check_spec(spec: GateSpec, measured: EvalResult) -> None:
    """AskError naming what a gate asks for and a report does not have."""
    check_criteria(spec)
    if suite_name(spec.suite) != measured.suite:
        raise AskError(f"the gate judges suite '{spec.suite}', the report is of '{measured.suite}'.")
    check_items(measured, spec.metric)
    for name in spec.slices:
        if name not in measured.slices:
            known = ", ".join(measured.slices) or "none"
            raise AskError(
                f"slice '{name}' is not in the report (it has: {known})."
                f"{did_you_mean(name, measured.slices)} `slices` of evaluate names more."
            )


def check_criteria(spec: GateSpec) -> None:
    """AskError for criteria that contradict themselves, or that no figures could meet or fail."""
    for name, bar in spec.slices.items():
        if bar.min is None and bar.max_drop is None:
            raise AskError(f"slice '{name}' of the gate needs `min` or `max_drop`.")
        if bar.max_drop is not None and spec.against is None:
            raise AskError(f"slice '{name}' has a `max_drop`, which needs `against: stable`.")
    if spec.max_drop is not None and spec.against is None:
        raise AskError("the gate has a `max_drop`, which needs `against: stable`.")
    for name, least in _least(spec):
        if least >= 1:
            raise AskError(
                f"{name} of 1 can never be shown: 100 right answers of 100 show a share of "
                f"{spec.level**0.01:.1%} only. Ask for less, such as 0.99 with 299 items or more."
            )
        if least <= 0:
            raise AskError(f"{name} of 0 says nothing: every model has it. Leave it out or ask for more.")
    for name, most in _margins(spec):
        if most <= 0:
            raise AskError(
                f"{name} of 0 is met by a model as good as stable only by luck, at most {spec.level:.0%} of "
                "the time. "
                "Allow what you could live with, such as 0.03."
            )
        if most >= 1:
            raise AskError(f"{name} of 1 says nothing: every model has it. Leave it out or ask for less.")
    _check_alterations(spec)
    tiers = _tiers(spec)
    if not tiers:
        raise AskError("the gate has no criteria. Add `min`, `slices` or `against`.")
    if Tier.CRITICAL not in tiers:
        raise AskError(
            "no criterion of the gate is critical, so nothing could make it GO. Make one critical."
        )


def _check_alterations(spec: GateSpec) -> None:
    """AskError for an alteration that nobody makes, and for one that is named twice."""
    wanted = () if spec.robustness is None else spec.robustness.alterations
    for place, name in enumerate(wanted):
        if name not in ALTERATIONS:
            raise AskError(
                f"unknown alteration '{name}' in `robustness` of the gate (there are: "
                f"{', '.join(ALTERATIONS)})." + did_you_mean(name, ALTERATIONS)
            )
        if name in wanted[:place]:
            raise AskError(f"`robustness` of the gate names alteration '{name}' twice. Name it once.")


def _least(spec: GateSpec) -> Iterator[tuple[str, float]]:
    if spec.min is not None:
        yield "`min`", spec.min
    yield from (
        (f"`min` of slice '{name}'", bar.min) for name, bar in spec.slices.items() if bar.min is not None
    )
    yield from ((f"`min` of suite '{name}'", bar.min) for name, bar in spec.suites.items())


def _margins(spec: GateSpec) -> Iterator[tuple[str, float]]:
    if spec.max_drop is not None:
        yield "`max_drop`", spec.max_drop
    for name, bar in spec.slices.items():
        if bar.max_drop is not None:
            yield f"`max_drop` of slice '{name}'", bar.max_drop
    if spec.robustness is not None:
        yield "`max_drop` of `robustness`", spec.robustness.max_drop


def _tiers(spec: GateSpec) -> set[Tier]:
    """The tiers of all criteria."""
    whole = {spec.tier} if spec.min is not None or spec.against is not None else set()
    whole |= {bar.tier for bar in spec.slices.values()} | {bar.tier for bar in spec.suites.values()}
    return whole | {bar.tier for bar in (spec.latency, spec.cost, spec.robustness) if bar is not None}


def _bars(spec: GateSpec, measured: EvalResult) -> Iterator[GateRow]:
    if spec.min is not None:
        yield bar_row(spec.metric, spec.tier, scores_on(measured.items, spec.metric), spec.min, spec)
    for name, bar in spec.slices.items():
        if bar.min is not None:
            scores = scores_on(measured.within(name), spec.metric)
            yield bar_row(f"{spec.metric} on {name}", bar.tier, scores, bar.min, spec)


def _against(
    spec: GateSpec, measured: EvalResult, incumbent: Incumbent | None, trivial: EvalResult | None
) -> Iterator[GateRow]:
    if spec.against is None or incumbent is None:
        return
    stable = incumbent.report
    if stable is None or stable.suite_digest != measured.suite_digest:
        message = (
            f"stable release {incumbent.release} has no report on this suite; make one with "
            f"`{incumbent.command}` and repeat the gate"
        )
        yield from no_drop_rows(spec, message)
        return
    check_items(stable, spec.metric)
    yield from drop_rows(spec, stable, measured, trivial)


def _findings(spec: GateSpec, measured: EvalResult, evidence: GateEvidence) -> Iterator[Check]:
    """What makes every other row doubtful, whatever it says; none when all is well."""

    def finding(name: str, message: str, got: float | None = None) -> Check:
        return Check(name=name, decision=Decision.INCONCLUSIVE, got=got, unit="count", message=message)

    named = sum(item.id in (evidence.leaked or ()) for item in measured.items)
    if measured.leaked and (spec.leaked == "hold" or named < measured.leaked):
        why = (
            "" if spec.leaked == "hold" else f"; of {measured.leaked - named} it is not known which they are"
        )
        yield finding(
            "leaked items",
            f"{measured.leaked} of {len(measured.items)} items are in its training rows{why}: curate with "
            "`golden` and train again, or let the gate have `leaked: leave_out`",
            measured.leaked,
        )
    if evidence.answers_trained is not None and evidence.answers_trained[0] == 0:
        yield finding(
            "answers in training",
            f"none of the suite's {evidence.answers_trained[1]} right answers occurs in the training rows: "
            "this suite does not ask what the model learned",
            0,
        )
    if evidence.chose_weights:
        yield finding(
            "items that chose",
            f"{evidence.chose_weights.total()} of {len(measured.items)} items decided which weights were "
            f"kept (`keep_by`), as they are or a little changed ({in_words(evidence.chose_weights)}), so the "
            "model is better on these than elsewhere: judge it by a suite of other items",
            evidence.chose_weights.total(),
        )
    if evidence.losses is not None and evidence.losses[1] > evidence.losses[0]:
        first, last = evidence.losses
        yield finding(
            "validation loss",
            f"it rose in training, from {first:.4g} to {last:.4g}: the model got worse at what it was "
            "trained for. Lower learning_rate or epochs",
        )
    if evidence.trivial_unknown:
        yield finding("trivial baseline", evidence.trivial_unknown)
    earlier = sorted([*(set(evidence.looks) - {len(measured.items)}), *evidence.looks_at_others])
    if len(earlier) + 1 > spec.looks:
        sizes = ", ".join(f"{n:,}" for n in earlier)
        yield finding(
            "looks",
            f"this model was judged before on {sizes} items, so this is look {len(earlier) + 1} where "
            f"the gate has {spec.looks}: set `looks` to as many as you want before the first one",
            len(earlier) + 1,
        )


def _notes(
    spec: GateSpec,
    measured: EvalResult,
    incumbent: Incumbent | None,
    evidence: GateEvidence,
    verdict: Verdict,
) -> Iterator[str]:
    """What a reader of the verdict should know, and what decides nothing."""
    if spec.against is not None and incumbent is None:
        yield "no stable release yet: nothing was compared"
    if verdict.decision is Decision.INCONCLUSIVE and not any(
        row.tier is Tier.CRITICAL for row in verdict.rows
    ):
        yield "nothing was shown: the gate has no bar, and there is no stable release or trivial baseline"
    if spec.leaked == "leave_out" and evidence.leaked:
        yield f"{len(evidence.leaked)} items that are in training rows were left out on both sides"
    if evidence.own_answers:
        yield f"{evidence.own_answers:,} training rows have answers that our own endpoints gave"
    for name, share in evidence.better_baselines.items():
        yield f"below the baseline {name} ({share:.1%}); this is said and not judged"
    for name, share in evidence.shortcuts.items():
        yield f"not shown to be better than the shortcut {name} ({share:.1%}); this is said and not judged"
    if evidence.candidates is not None and evidence.candidates > 1:
        chance = min(1.0, evidence.candidates * spec.alpha)
        yield (
            f"{evidence.candidates} models were judged on this suite: the chance that some bad one among "
            f"them was passed is up to {chance:.0%}"
        )
    if spec.looks > 1:
        yield f"{spec.looks} looks are planned, so each has alpha {spec.level:.3g}"
    if measured.errors:
        yield f"{measured.errors} of {len(measured.items)} items got no answer: the target failed"
    if measured.leaked is None:
        yield "leaked items were not looked for: the model's training rows are not known"
