"""The tests of a window of traffic against the reference: meaning, length, vocabulary, predicted labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import AskError
from ...core.statistics import holm
from ...data.text import label_form
from .embed import TextEmbedder, Vectors, words
from .mmd import LEAST, mmd

PERMUTATIONS = 1000
REFERENCE_SAMPLE = 1500
LEAST_REFERENCE = 100
# How much higher than among the reference texts themselves the share of texts with an unknown word may be:
# other people asking the same things measured 1.33 to 1.41 (docs/decisions/041-drift.md).
OOV_TOLERANCE = 1.5


@dataclass(frozen=True)
class DriftTest:
    """One test: its statistic, its p-value before and after correction, and what it saw, in words."""

    name: str
    statistic: float
    p: float
    message: str
    p_corrected: float = 1.0
    alarm: bool = False
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """The live side: texts and what the model answered, both of one length."""

    texts: Sequence[str]
    outputs: Sequence[str]


class Reference:
    """The training texts as the tests see them: fitted once, compared with any number of windows."""

    def __init__(self, texts: Sequence[str], labels: Sequence[str], seed: int) -> None:
        if len(texts) < LEAST_REFERENCE:
            raise AskError(
                f"the reference has {len(texts)} training texts; drift needs at least {LEAST_REFERENCE}."
            )
        rng = np.random.default_rng(seed)
        chosen = set(rng.choice(len(texts), min(REFERENCE_SAMPLE, len(texts) // 2), replace=False).tolist())
        self.texts = texts
        self.labels = Counter(label_form(label) for label in labels)
        self.spelled = {label_form(label): label for label in labels}
        # The embedding has seen neither side of the comparison: fitted on the sample too, it told seen from
        # unseen texts and fired on quiet traffic.
        self.embedder = TextEmbedder([text for i, text in enumerate(texts) if i not in chosen], seed=seed)
        self.sample = [texts[i] for i in sorted(chosen)]
        self.vectors: Vectors = self.embedder(self.sample)
        split = [words(text) for text in texts]
        self.lengths = np.array([len(text) for text in split])
        self.texts_with_word = Counter(word for text in split for word in set(text))
        # Left out one at a time: a word that only this text holds would be unknown without it.
        self.unknown_texts = sum(any(self.texts_with_word[w] == 1 for w in text) for text in split)

    def unknown(self, text: str) -> list[str]:
        """The words of a text that no reference text holds."""
        return [word for word in words(text) if word not in self.texts_with_word]


@dataclass(frozen=True)
class Comparison:
    """All tests of one window, the live vectors, and each live text's part in the difference."""

    checks: tuple[DriftTest, ...]
    vectors: Vectors
    witness: npt.NDArray[np.float32]

    @property
    def alarm(self) -> bool:
        """Whether any test fires after correction."""
        return any(check.alarm for check in self.checks)


def compare(reference: Reference, window: Window, alpha: float, seed: int) -> Comparison:
    """Test a window against the reference; p-values are corrected together, an alarm is one <= alpha."""
    rng = np.random.default_rng(seed)
    vectors = reference.embedder(window.texts)
    meaning = mmd(reference.vectors, vectors, PERMUTATIONS, rng)
    checks = [
        DriftTest(
            "embedding",
            meaning.statistic,
            meaning.p,
            f"maximum mean discrepancy {meaning.statistic:.4f} of {len(window.texts)} live and "
            f"{len(reference.vectors)} reference texts",
        ),
        lengths(reference, window),
        vocabulary(reference, window),
    ]
    if (shift := label_shift(reference, window, rng)) is not None:
        checks.append(shift)
    corrected = holm([check.p for check in checks])
    return Comparison(
        tuple(
            replace(check, p_corrected=p, alarm=p <= alpha)
            for check, p in zip(checks, corrected, strict=True)
        ),
        vectors,
        meaning.witness,
    )


def lengths(reference: Reference, window: Window) -> DriftTest:
    """Two-sample Kolmogorov-Smirnov test on words per text; with ties its p-value errs on the quiet side."""
    from scipy.stats import ks_2samp

    live = np.array([len(words(text)) for text in window.texts])
    result = ks_2samp(reference.lengths, live, method="asymp")
    return DriftTest(
        "length",
        float(result.statistic),
        float(result.pvalue),
        f"{live.mean():.1f} words a text, {reference.lengths.mean():.1f} in the reference",
        detail={"live_mean": round(float(live.mean()), 3), "mean": round(float(reference.lengths.mean()), 3)},
    )


def vocabulary(reference: Reference, window: Window) -> DriftTest:
    """Whether texts with an unknown word are over OOV_TOLERANCE times as frequent as in the reference.

    Conditional test of a ratio of two rates: given all texts with an unknown word, those of the window are
    binomial under the null. For shares that are not small it errs on the quiet side.
    Source: Przyborowski & Wilenski, Biometrika 31 (1940) 313-323.
    """
    from scipy.stats import binom

    live = sum(bool(reference.unknown(text)) for text in window.texts)
    n, m = len(reference.texts), len(window.texts)
    odds = OOV_TOLERANCE * m / (OOV_TOLERANCE * m + n)
    share, own = live / m, reference.unknown_texts / n
    return DriftTest(
        "vocabulary",
        share,
        float(binom.sf(live - 1, live + reference.unknown_texts, odds)),
        f"{share:.0%} of the texts hold a word the reference does not know, {own:.0%} of its own would",
        detail={"live_share": round(share, 4), "share": round(own, 4), "tolerance": OOV_TOLERANCE},
    )


def label_shift(reference: Reference, window: Window, rng: np.random.Generator) -> DriftTest | None:
    """Chi-square of predicted against training labels with a permutation p-value; None below 20 known labels.

    Labels are compared in the form of `label_form`, so a model that spells them otherwise is no change.

    Answers that are not labels of the reference are counted beside it: they are a fault of the model, and one
    in a window would already be significant. The p-value is exact for rare labels (drawn from the pooled
    counts), where the chi-square distribution is not.
    """
    outputs = [label_form(output) for output in window.outputs]
    known = Counter(output for output in outputs if output in reference.labels)
    unknown = len(outputs) - known.total()
    if known.total() < LEAST:
        return None
    names = sorted(reference.labels)
    trained = np.array([reference.labels[name] for name in names])
    live = np.array([known[name] for name in names])
    pooled = trained + live
    expected = pooled * (live.sum() / pooled.sum())
    drawn = rng.multivariate_hypergeometric(pooled, int(live.sum()), size=PERMUTATIONS, method="marginals")
    observed = _chi_square(live, expected)
    reached = int(np.count_nonzero(_chi_square(drawn, expected) >= observed - 1e-9))
    usual = trained * (live.sum() / trained.sum())
    moved = sorted(
        zip(names, live.tolist(), usual.tolist(), strict=True), key=lambda row: -abs(row[1] - row[2])
    )
    return DriftTest(
        "labels",
        float(observed),
        (1 + reached) / (PERMUTATIONS + 1),
        f"{np.count_nonzero(live)} of {len(names)} labels predicted; {unknown} answers are not labels",
        detail={
            "not_a_label": unknown,
            "moved": [
                {"label": reference.spelled[a], "live": b, "expected": round(c, 2)} for a, b, c in moved[:12]
            ],
        },
    )


def _chi_square(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))
