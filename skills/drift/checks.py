"""The tests of a window of traffic against the reference: what users write, and what the model answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import AskError
from ...core.statistics import holm
from ...data.embed import TextEmbedder, Vectors, words
from ...data.text import label_form
from .mmd import LEAST, Mmd, mmd
from .novelty import Novelty

PERMUTATIONS = 8000
REFERENCE_WINDOWS = 10  # how many windows large the compared part of the reference is, where it has as much
REFERENCE_SAMPLE = 3000
LEAST_REFERENCE = 100
EMBEDDED = 5000  # texts that the embedding is fitted on, at most
# How many times as frequent as in the reference novel texts, or answers that are no label, may be. Who uses a
# model did not write its training data: on four tasks other people asking the same things measured 1.2 to 1.8
# (docs/decisions/041-drift.md). Earlier traffic is by the same people.
OTHER_PEOPLE, SAME_PEOPLE = 2.0, 1.0


@dataclass(frozen=True)
class DriftTest:
    """One test: its statistic, its p-value before and after correction, and what it saw, in words.

    One that does not decide is shown beside the others: what it sees is seldom a reason to act.
    """

    name: str
    statistic: float
    p: float
    message: str
    p_corrected: float = 1.0
    alarm: bool = False
    decides: bool = True
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """The live side: texts and what the model answered, both of one length."""

    texts: Sequence[str]
    outputs: Sequence[str]


class Reference:
    """What traffic is compared with: fitted once, compared with any number of windows.

    texts: what was asked. labels: the labels a model may answer, None when it answers in free text. answers:
    what the same model answered to texts like these that it was not trained on; None when nobody knows.
    tolerance: OTHER_PEOPLE, or SAME_PEOPLE for earlier traffic.
    """

    def __init__(
        self,
        texts: Sequence[str],
        seed: int,
        labels: Sequence[str] | None = None,
        answers: Sequence[str] | None = None,
        tolerance: float = OTHER_PEOPLE,
    ) -> None:
        if len(texts) < LEAST_REFERENCE:
            raise AskError(f"the reference has {len(texts)} texts; drift needs at least {LEAST_REFERENCE}.")
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(texts), min(REFERENCE_SAMPLE, len(texts) // 2), replace=False).tolist()
        chosen = set(drawn)
        self.texts = texts
        self.labels = None if labels is None else {label_form(label): label for label in labels}
        self.answers = answers if answers is not None and len(answers) >= least_answers(labels) else None
        # The embedding has seen neither side of the comparison: fitted on the sample too, it told seen from
        # unseen texts and fired on quiet traffic.
        others = [texts[i] for i in rng.permutation(len(texts)).tolist() if i not in chosen]
        self.embedder = TextEmbedder(others[:EMBEDDED], seed=seed)
        self.sample = [texts[i] for i in drawn]
        self.novelty = Novelty(others, self.sample)
        self.tolerance = tolerance
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
    """All tests of one window, the live vectors, and the test of meaning with each live text's part in it."""

    checks: tuple[DriftTest, ...]
    vectors: Vectors
    meaning: Mmd

    @property
    def alarm(self) -> bool:
        """Whether any test fires after correction."""
        return any(check.alarm for check in self.checks)

    @property
    def p(self) -> float:
        """The window's p-value: the smallest after correction of those that decide."""
        return min(check.p_corrected for check in self.checks if check.decides)

    @property
    def deciding(self) -> int:
        """How many tests decide."""
        return sum(check.decides for check in self.checks)


def compare(reference: Reference, window: Window, alpha: float, seed: int) -> Comparison:
    """Test a window against the reference; those that decide are corrected together, alarm: one <= alpha."""
    rng = np.random.default_rng(seed)
    vectors = reference.embedder(window.texts)
    compared = reference.vectors[: max(REFERENCE_WINDOWS * len(vectors), LEAST_REFERENCE)]
    meaning = mmd(compared, vectors, PERMUTATIONS, rng)
    checks = [
        DriftTest(
            "embedding",
            meaning.statistic,
            meaning.p,
            f"maximum mean discrepancy {meaning.statistic:.4f} of {len(window.texts)} live and "
            f"{len(compared)} reference texts",
        ),
        novel_texts(reference, window),
        *_answer_checks(reference, window, seed, rng),
        vocabulary(reference, window),
        lengths(reference, window),
    ]
    deciding = [check for check in checks if check.decides]
    corrected = dict(zip((check.name for check in deciding), holm([c.p for c in deciding]), strict=True))
    return Comparison(
        tuple(
            replace(check, p_corrected=corrected[check.name], alarm=corrected[check.name] <= alpha)
            if check.decides
            else replace(check, p_corrected=check.p)
            for check in checks
        ),
        vectors,
        meaning,
    )


def _answer_checks(
    reference: Reference, window: Window, seed: int, rng: np.random.Generator
) -> list[DriftTest]:
    """The tests of what the model answers; none without answers to compare with."""
    if reference.answers is None:
        return []
    if reference.labels is None:
        return [answer_meaning(reference.answers, window.outputs, seed, rng)]
    shift = label_shift(reference.answers, window.outputs, reference.labels, rng)
    return [*([shift] if shift else []), not_labels(reference, window)]


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
        decides=False,
        detail={"live_mean": round(float(live.mean()), 3), "mean": round(float(reference.lengths.mean()), 3)},
    )


def novel_texts(reference: Reference, window: Window) -> DriftTest:
    """Whether texts unlike any in the reference are over `tolerance` times as frequent as among its own."""
    novelty = reference.novelty
    live = int(np.count_nonzero(novelty.nearness(window.texts) < novelty.bound))
    share, own = live / len(window.texts), novelty.own_novel / novelty.own
    return DriftTest(
        "novelty",
        share,
        rate_ratio_p(live, len(window.texts), novelty.own_novel, novelty.own, reference.tolerance),
        f"{share:.0%} of the texts are unlike any in the reference, {own:.0%} of its own would be",
        detail={"live_share": round(share, 4), "share": round(own, 4), "tolerance": reference.tolerance},
    )


def vocabulary(reference: Reference, window: Window) -> DriftTest:
    """Whether texts with an unknown word are over `tolerance` times as frequent as in the reference."""
    live = sum(bool(reference.unknown(text)) for text in window.texts)
    n, m = len(reference.texts), len(window.texts)
    share, own = live / m, reference.unknown_texts / n
    return DriftTest(
        "vocabulary",
        share,
        rate_ratio_p(live, m, reference.unknown_texts, n, reference.tolerance),
        f"{share:.0%} of the texts hold a word the reference does not know, {own:.0%} of its own would",
        decides=False,
        detail={"live_share": round(share, 4), "share": round(own, 4), "tolerance": reference.tolerance},
    )


def rate_ratio_p(live: int, m: int, usual: int, n: int, tolerance: float) -> float:
    """P-value of: a share, live of m, is at most `tolerance` times another one, usual of n.

    Given live + usual, the live count is binomial under the null. For shares that are not small it errs on
    the quiet side. Source: Przyborowski & Wilenski, Biometrika 31 (1940) 313-323.
    """
    from scipy.stats import binom

    odds = tolerance * m / (tolerance * m + n)
    return float(binom.sf(live - 1, live + usual, odds))


def least_answers(labels: Sequence[str] | None) -> int:
    """Fewest answers to compare with: those in free text are halved, as the embedding is fitted on some."""
    return LEAST if labels is not None else 2 * LEAST


def answer_meaning(
    usual: Sequence[str], live: Sequence[str], seed: int, rng: np.random.Generator
) -> DriftTest:
    """Maximum mean discrepancy of answers in free text: the live ones, and those to held-out texts."""
    half = len(usual) // 2  # the embedding has seen neither side of the comparison
    embed = TextEmbedder(list(usual[:half]), seed=seed)
    found = mmd(embed(usual[half:]), embed(live), PERMUTATIONS, rng)
    usual_words, live_words = (
        float(np.mean([len(words(text)) for text in texts])) for texts in (usual, live)
    )
    return DriftTest(
        "answers",
        found.statistic,
        found.p,
        f"maximum mean discrepancy {found.statistic:.4f} of {len(live)} live and {len(usual) - half} "
        f"held-out answers; {live_words:.1f} words an answer, {usual_words:.1f} held out",
        detail={"live_words": round(live_words, 2), "words": round(usual_words, 2)},
    )


def not_labels(reference: Reference, window: Window) -> DriftTest:
    """Whether answers that are no label are over `tolerance` times as frequent as on held-out texts."""
    usual, live, labels = reference.answers or (), window.outputs, reference.labels or {}
    wrong, usually = (sum(label_form(text) not in labels for text in texts) for texts in (live, usual))
    share, own = wrong / len(live), usually / len(usual)
    return DriftTest(
        "not_labels",
        share,
        rate_ratio_p(wrong, len(live), usually, len(usual), reference.tolerance),
        f"{share:.0%} of the answers are no label, {own:.0%} of those to held-out texts",
        detail={"live_share": round(share, 4), "share": round(own, 4), "tolerance": reference.tolerance},
    )


def label_shift(
    usual: Sequence[str], live: Sequence[str], labels: Mapping[str, str], rng: np.random.Generator
) -> DriftTest | None:
    """Chi-square of labels predicted live and on held-out texts, p by permutation; None below 20 on a side.

    Both sides are the model's own answers, so its mistakes are no change. Labels are compared in the form of
    `label_form`; answers that are none are `not_labels`' business. The p-value is exact for rare labels
    (drawn from the pooled counts), where the chi-square distribution is not.
    """
    counts = [
        Counter(form for text in texts if (form := label_form(text)) in labels) for texts in (usual, live)
    ]
    if min(count.total() for count in counts) < LEAST:
        return None
    names = sorted(counts[0] | counts[1])
    before, now = (np.array([count[name] for name in names]) for count in counts)
    pooled = before + now
    expected = pooled * (now.sum() / pooled.sum())
    drawn = rng.multivariate_hypergeometric(pooled, int(now.sum()), size=PERMUTATIONS, method="marginals")
    observed = _chi_square(now, expected)
    reached = int(np.count_nonzero(_chi_square(drawn, expected) >= observed - 1e-9))
    as_before = before * (now.sum() / before.sum())
    moved = sorted(
        zip(names, now.tolist(), as_before.tolist(), strict=True), key=lambda row: -abs(row[1] - row[2])
    )
    return DriftTest(
        "labels",
        float(observed),
        (1 + reached) / (PERMUTATIONS + 1),
        f"{np.count_nonzero(now)} of {len(labels)} labels predicted, {np.count_nonzero(before)} on "
        f"{before.sum()} held-out texts",
        detail={
            "moved": [{"label": labels[a], "live": b, "expected": round(c, 2)} for a, b, c in moved[:12]],
        },
    )


def _chi_square(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))
