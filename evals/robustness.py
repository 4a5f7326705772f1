"""Robustness: the suite's items again, altered in ways that leave the right answer right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from ..core.statistics import holm_rejections
from ..data.alterations import PARAPHRASE, SAYS, Alteration, altered
from ..data.sample import Sample
from ..data.text import label_form
from ..engines import Engine, Progress
from .gate_scores import drops_on, variant_pairs
from .report import figure
from .runner import EvalResult, SampleResult, run_suite
from .scorers import Scorer
from .suites import Suite

_ALPHA = 0.05


def run_altered(
    suite: Suite,
    engine: Engine,
    measured: EvalResult,
    alterations: Sequence[Alteration],
    *,
    scorers: Sequence[Scorer],
    max_new_tokens: int | None = None,
    paraphrased: Sequence[Sample] = (),
    progress: Progress | None = None,
) -> dict[str, tuple[SampleResult, ...]]:
    """Of each alteration the items it changes, asked and scored as the suite is.

    paraphrased: those that have a usable paraphrase, as it puts them.
    """
    asked = suite.items_by_id(item.id for item in measured.items)
    found: dict[str, tuple[SampleResult, ...]] = {}
    for alteration in alterations:
        items = list(paraphrased)
        if alteration != PARAPHRASE:
            items = [one for item in asked if (one := altered(item, alteration, suite.task)) is not None]
        variant = replace(suite, items=tuple(items))
        if items:
            again = run_suite(
                variant,
                engine,
                measured.model,
                max_new_tokens=max_new_tokens,
                scorers=scorers,
                progress=progress,
                may_fail=True,
            )
            found[alteration] = again.items
    return found


def fallen(measured: EvalResult) -> list[str]:
    """In words, the alterations under which the model is shown to be worse: at 0.05 over all, by Holm."""
    facts = robustness_facts(measured)
    shown = holm_rejections([one["p_value"] for one in facts.values()], _ALPHA)
    return [
        f"asked {SAYS[name]}, its {measured.metric} falls from {one['value'] + one['drop']:.1%} to "
        f"{one['value']:.1%} on {one['n']:,} items"
        for (name, one), is_shown in zip(facts.items(), shown, strict=True)
        if is_shown and one["drop"] > 0
    ]


def robustness_facts(measured: EvalResult) -> dict[str, dict[str, Any]]:
    """Of each alteration the mean score, and how far it fell on the same items, with 95 % intervals.

    drop: as they are minus altered; p_value: two-sided, of no difference. changed: the share of these items
    that got another answer, right or wrong: a model may fall on some and rise on as many.
    """
    metric = measured.metric
    facts = {}
    for name, items in measured.variants.items():
        pairs = variant_pairs(measured, name)
        fell = drops_on(pairs, metric).difference()
        facts[name] = {
            **figure(items, metric, measured.scorers[metric]),
            "drop": fell.mean,
            "drop_low": fell.low,
            "drop_high": fell.high,
            "p_value": fell.p_value,
            "changed": fmean(
                label_form(one.got or "") != label_form(other.got or "") for one, other in pairs
            ),
        }
    return facts
