"""How a retrained model is judged: the suite, what is new and what is earlier in it, and the gate's bars."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...core.contract import Finding, StepContext
from ...core.errors import AskError
from ...core.files import sha256_json
from ...core.gate import DEFAULT_MAX_DROP, GateSpec
from ...data.golden import LEAST_PASSAGES, GoldenChoice
from ...data.personal import mask_sample
from ...data.profile import prompt_text, split_key
from ...data.read import DOMAIN, Source, read_samples
from ...data.sample import Sample, asked_of
from ...data.text import fingerprint
from .request import RetrainRequest
from .starting_point import StartingPoint

if TYPE_CHECKING:
    from ...evals.suites import SliceValues, Suite

LEAST_NEW = 20  # items of what is new, below which a gate's row says nothing
_REACH = 0.75  # of stable's lead over nothing on what it knows: what a model should show on what is new
_SEED = 1111


@dataclass(frozen=True)
class Items:
    """What is asked: the suite, where it lies, slices it has not itself, and which slice is what."""

    suite: Suite
    source: str
    slices: Mapping[str, SliceValues]
    new: str
    earlier: str | None  # None where the suite has nothing but what is new

    def within(self, name: str) -> list[Sample]:
        """The items of one of the two slices."""
        from ...evals.gate_power import within

        return within(self.whole, name)

    @property
    def whole(self) -> Suite:
        """The suite with all slices."""
        return replace(self.suite, groups={**self.suite.groups, **self.slices})


@dataclass(frozen=True)
class Judging:
    """The suite by which a plan judges, and the gate.

    arguments: what its evaluations are asked besides. slices: of the evaluation, where the suite has not them
    itself. is_measured: whether stable has a report on exactly this suite. power: what the rows can show.
    """

    source: str
    suite: Suite
    arguments: Mapping[str, Any]
    slices: Mapping[str, SliceValues]
    gate: Mapping[str, Any]
    is_measured: bool
    new_samples: int
    bar_says: str
    power: tuple[str, ...]


def judge_by(
    request: RetrainRequest, start: StartingPoint, folder: Path, undo: ExitStack, ctx: StepContext
) -> Judging:
    """The suite and the gate of a retraining; AskError where the items could not show what the gate asks.

    folder: where a suite is written to that asks more than the endpoint's; undo: takes it away again.
    """
    if new := _new_items(request, start):
        earlier = _other_values(new, start, ctx)
        slices: dict[str, SliceValues] = {"earlier": earlier, "new": new} if earlier else {"new": new}
        items = Items(start.suite, start.suite_source, slices, "new", "earlier" if earlier else None)
        return _judging(request, start, items, ctx)
    from ...evals.suites.extend import EARLIER_SLICE, NEW_SLICE, extend_suite

    rows = _held_out(request, start, ctx)
    key = sha256_json([start.suite.digest, start.suite_source, [row.document() for row in rows]])[:12]
    own = folder / f"retrain-{start.endpoint}-{key}"
    if not own.exists():
        undo.callback(shutil.rmtree, own, ignore_errors=True)
    suite = extend_suite(start.suite, rows, own)
    source = (own / f"{suite.name}.yaml").resolve().as_posix()
    return _judging(request, start, Items(suite, source, {}, NEW_SLICE, EARLIER_SLICE), ctx)


def _new_items(request: RetrainRequest, start: StartingPoint) -> dict[str, tuple[str, ...]]:
    """The tag values of what is new in the suite's own items; empty where it has none."""
    if request.new_items:
        for tag, values in request.new_items.items():
            start.suite.check_values(tag, values, "new_items")
        return dict(request.new_items)
    known = start.suite.tags.get(DOMAIN, ())
    return {DOMAIN: request.domains} if request.domains and set(request.domains) <= set(known) else {}


def _other_values(
    new: Mapping[str, Sequence[str]], start: StartingPoint, ctx: StepContext
) -> dict[str, tuple[str, ...]]:
    """The first of these tags with its other values: of domains, those of the earlier dataset."""
    tag, values = next(iter(new.items()))
    facts = ctx.artifacts.open(start.replay).facts
    known = facts.get("domains", ()) if tag == DOMAIN else start.suite.tags[tag]
    others = tuple(value for value in known if value not in values and value in start.suite.tags[tag])
    return {tag: others} if others else {}


def _held_out(request: RetrainRequest, start: StartingPoint, ctx: StepContext) -> list[Sample]:
    """Rows of what is new that judge and do not teach; AskError when there are too few."""
    choice = _choice(request, start.source)
    for sample in _samples(request, start.source):
        choice.look(sample)
    chosen = choice.samples
    if start.cleaning.get("personal_data") == "mask":
        chosen = [mask_sample(sample) for sample in chosen]
    fresh = [_named(sample) for sample in _unseen(chosen, start, ctx)]
    if len(fresh) < LEAST_NEW:
        raise AskError(
            f"{request.new_data} gives {len(fresh)} rows to judge by that neither suite nor training has "
            f"({choice.rows} were drawn); {LEAST_NEW} are needed. Add rows, or name a suite that asks what "
            "is new by `suite` and `new_items`."
        )
    return fresh


def _samples(request: RetrainRequest, source: Source) -> Iterator[Sample]:
    """The new rows of the domains asked for that have an answer."""
    for sample in read_samples(source):
        if sample.answer is not None and (not request.domains or sample.tags.get(DOMAIN) in request.domains):
            yield sample


def _choice(request: RetrainRequest, source: Source) -> GoldenChoice:
    """What draws the rows that are held out, knowing how many there are."""
    task = read_samples(source).task
    rows, labels, passages = 0, Counter[str](), set[int]()
    for sample in _samples(request, source):
        rows += 1
        if task == "classify":
            labels[sample.answer or ""] += 1
        if sample.contexts:
            passages.add(hash(split_key(sample, by_passage=True)))
    if not rows:
        asked = f" of {', '.join(request.domains)}" if request.domains else ""
        raise AskError(f"{request.new_data} has no answered row{asked}.")
    return GoldenChoice(rows, labels, _SEED, by_passage=len(passages) >= LEAST_PASSAGES)


def _unseen(samples: Sequence[Sample], start: StartingPoint, ctx: StepContext) -> list[Sample]:
    """Of samples those that neither the suite asks nor a training behind the base has seen."""
    from ...evals.contamination import find_leaks
    from ...evals.lineage import training_datasets

    known = [*start.suite.items, *start.suite.prompt.examples]
    texts = {fingerprint(prompt_text(one)) for one in known}
    groups: Collection[str | None] = {one.group for one in known} - {None}
    fresh = [one for one in samples if fingerprint(prompt_text(one)) not in texts and one.group not in groups]
    datasets = dict.fromkeys([*training_datasets(ctx.artifacts, start.base), start.replay])
    seen = find_leaks(
        ctx.artifacts, list(datasets), [(asked_of(one), one.group) for one in fresh], common=True
    )
    return [one for place, one in enumerate(fresh) if place not in seen]


def _named(sample: Sample) -> Sample:
    """A sample by the digest of what it asks: its file's row numbers are those of other items too."""
    return replace(sample, id=f"new-{hashlib.sha256(prompt_text(sample).encode()).hexdigest()[:16]}")


def _judging(request: RetrainRequest, start: StartingPoint, items: Items, ctx: StepContext) -> Judging:
    from ...evals.gate_power import StableFigures, power_findings, size_of

    suite, new, earlier = items.suite, items.within(items.new), items.earlier
    known = items.within(earlier) if earlier is not None else suite.items
    score = _stable_score(start, known, ctx)
    bar, says = _bar(request, size_of(new).n, score)
    margin = _margin(request, size_of(known).n)
    gate: dict[str, Any] = {"suite": items.source, "metric": suite.specs[0].metric, "against": "stable"}
    gate |= {"endpoint": start.endpoint, "alpha": 0.05, "max_drop": margin}
    gate |= {} if request.min_overall is None else {"min": request.min_overall}
    rows: dict[str, Any] = {} if earlier is None else {earlier: {"max_drop": margin}}
    gate["slices"] = rows | {items.new: {"min": bar}}
    figures = StableFigures(slices={} if earlier is None else {earlier: score})
    spec = GateSpec.model_validate(gate)
    findings = list(power_findings(spec, items.whole, None if start.stable is None else figures))
    _check_power(findings)
    return Judging(
        source=items.source,
        suite=suite,
        arguments=start.judged.arguments if start.judged is not None else {},
        slices=items.slices,
        gate=gate,
        is_measured=start.stable is None or _report_on(start, suite.digest, ctx) is not None,
        new_samples=len(new),
        bar_says=says,
        power=tuple(finding.message for finding in findings),
    )


def _check_power(findings: Sequence[Finding]) -> None:
    """AskError for a plan that no answers could make GO."""
    for finding in findings:
        if finding.level == "stop":
            raise AskError(f"no retraining could be shown good: {finding.message} {finding.fix}".strip())


def _margin(request: RetrainRequest, n: int) -> float:
    """The drop that is allowed: the usual one, or where so few items cannot show it, what they can."""
    from ...core.statistics.power import smallest_margin

    if request.max_drop is not None:
        return request.max_drop
    least = smallest_margin(n)
    return DEFAULT_MAX_DROP if least is None else max(DEFAULT_MAX_DROP, ceil(100 * least) / 100)


def _bar(request: RetrainRequest, n: int, score: float | None) -> tuple[float, str]:
    """The least score on what is new, and where it comes from in words."""
    from ...core.statistics.power import suggest_bar

    if request.min_new is not None:
        return request.min_new, "as asked"
    if score is None:
        raise AskError(
            "no report says how good the stable release is on the suite, from which the bar on what is new "
            "would follow. Name it as `min_new`, such as 0.7."
        )
    aim = _REACH * score
    bar = suggest_bar(n, aim)
    if bar is None:
        raise AskError(
            f"stable scores {score:.1%} on what it knows, and {n} new items can show no bar for a model that "
            f"reaches three quarters of that. Add rows, or name a bar as `min_new`."
        )
    return bar, f"three quarters of stable's {score:.1%} on what it knows, less what {n} items cannot show"


def _stable_score(start: StartingPoint, items: Sequence[Sample], ctx: StepContext) -> float | None:
    """Stable's mean score on some items of the suite, or by its last report on all; None without one."""
    from ...evals.report import read_report

    report = _report_on(start, start.suite.digest, ctx)
    if report is None:  # the suite was changed since
        return start.judged.value if start.judged is not None else None
    measured, wanted = read_report(ctx.artifacts.open(report)), {item.id for item in items}
    scores = [
        item.scores[measured.metric]
        for item in measured.items
        if item.id in wanted and measured.metric in item.scores
    ]
    return fmean(scores) if scores else None


def _report_on(start: StartingPoint, digest: str, ctx: StepContext) -> Any:
    """The newest report of stable, or of the checkpoint behind it, on exactly this suite."""
    models = {str(start.model), str(start.base)}
    for ref, manifest in ctx.artifacts.list("eval-report"):
        facts = manifest["facts"]
        if facts["model"] in models and facts.get("suite_digest") == digest:
            return ref
    return None
