"""What a report says of its judges: who judged, by which prompt, what failed, and whether people agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ...data.sample import Sample
from ..scorers.base import Score, Scorer
from .base import Gold, Judge, gold_of

_FEWEST = 3  # pairs of scores, for a correlation


def judge_summaries(
    scorers: Sequence[Scorer], samples: Sequence[Sample], scores: Mapping[str, Sequence[Score]]
) -> dict[str, dict[str, Any]]:
    """Of each scorer that is a judge, by its name: what it is and how it did; gold answers are asked here.

    scores: each scorer's, one for each sample.
    """
    return {
        one.name: _summary(one.function, samples, scores[one.name])
        for one in scorers
        if isinstance(one.function, Judge)
    }


def _summary(judge: Judge, samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Any]:
    details = [one.detail for one in scores if one.detail is not None]
    failures = Counter(one.fault.partition(":")[0] for one in scores if one.fault is not None)
    found: dict[str, Any] = {
        "model": judge.settings.model,
        "url": judge.settings.url,
        "prompt": judge.prompt.name,
        "prompt_digest": judge.prompt.digest,
        "judged": sum(one.value is not None for one in scores if one.detail is not None),
        "failed": sum(failures.values()),
        "failures": dict(sorted(failures.items())),
        "tokens": sum(int(one.get("tokens", 0)) for one in details),
    }
    swaps = [one for one in details if "disagreed" in one]
    if swaps:
        changes = Counter((one["when_first"], one["when_second"]) for one in swaps)
        disagreed = sum(one["disagreed"] for one in swaps)
        found["swaps"] = {
            "n": len(swaps),
            "disagreed": disagreed,
            "share": disagreed / len(swaps),
            "for_the_first": changes["win", "loss"],
            "for_the_second": changes["loss", "win"],
        }
    golds = [(sample, gold) for sample in samples if (gold := gold_of(sample)) is not None]
    if golds:
        found["agreement"] = _agreement(judge, golds)
    return found


def _agreement(judge: Judge, golds: Sequence[tuple[Sample, Gold]]) -> dict[str, Any]:
    """How far a judge gives what people gave to the same answers; None where a figure has no meaning."""
    on_scale = [(sample, gold) for sample, gold in golds if judge.scale[0] <= gold.score <= judge.scale[-1]]
    scores = judge.score_all([(sample, gold.answer) for sample, gold in on_scale])
    both = [
        (judge.share(gold.score), score.value)
        for (_, gold), score in zip(on_scale, scores, strict=True)
        if score.value is not None
    ]
    return {
        "n": len(both),
        "failed": len(on_scale) - len(both),
        "off_scale": len(golds) - len(on_scale),
        "same": sum(abs(people - judged) < 1e-9 for people, judged in both) / len(both) if both else None,
        "spearman": _spearman(both),
        "kappa": _kappa(both, [judge.share(step) for step in judge.scale]),
    }


def _spearman(both: Sequence[tuple[float, float]]) -> float | None:
    from scipy.stats import spearmanr

    columns = list(zip(*both, strict=True))
    if len(both) < _FEWEST or any(len(set(column)) < 2 for column in columns):
        return None
    return float(spearmanr(*columns).statistic)


def _kappa(both: Sequence[tuple[float, float]], steps: Sequence[float]) -> float | None:
    """Cohen's kappa with quadratic weights; None where people gave what is no step of the scale."""
    from sklearn.metrics import cohen_kappa_score

    named = {round(step, 9): number for number, step in enumerate(steps)}
    pairs = [(named.get(round(people, 9)), named.get(round(judged, 9))) for people, judged in both]
    if len(pairs) < _FEWEST or any(None in pair for pair in pairs):
        return None
    people, judged = zip(*pairs, strict=True)
    if len({*people, *judged}) < 2:
        return None
    kappa = float(cohen_kappa_score(people, judged, labels=list(named.values()), weights="quadratic"))
    return kappa if isfinite(kappa) else None
