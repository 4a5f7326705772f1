"""Scorers of texts: equal, alike, containing, matching, or the same number.

Each function here makes the function of one scorer from a suite's facts and the parameters its YAML gives.
Where a sample has several right answers, the best score counts.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ...core.errors import AskError, NeedsError
from ...core.install import install_hint
from ...data.sample import Sample
from ...data.text import label_form, normalise
from .base import ScoreFunction, ScoringContext, right_answers
from .words import overlap_f1, words

_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|(?<!\w)[-+]?\.\d+"
)
_LETTER_ALONE = re.compile(r"^\W*([A-Za-z])\W*$")
_LETTER_FIRST = re.compile(r"^\(?([A-Za-z])[).:]\s")
_LETTER_SAID = re.compile(r"(?i:answer(?: is)?)\s*:?\s*(?:\(([A-Za-z])\)|([A-Z])\b(?!')|([a-z])\W*$)")
_REGEX_TIMEOUT_S = 1.0


def exact_match(context: ScoringContext) -> ScoreFunction:
    """Equal to a right answer: labels by `label_form`, all else byte for byte but for white space around."""
    form: Callable[[str], str] = label_form if context.task == "classify" else str.strip
    return lambda sample, answer: any(form(right) == form(answer) for right in right_answers(sample))


def known_label(context: ScoringContext) -> ScoreFunction:
    """One of the right answers of the suite, be it right here or not."""
    known = {label_form(answer) for answer in context.answers}
    return lambda sample, answer: label_form(answer) in known


def normalised_match(context: ScoringContext, ignore_punctuation: bool = False) -> ScoreFunction:
    """Equal to a right answer but for case, width and white space, and if asked for punctuation."""

    def form(text: str) -> str:
        return " ".join(words(text)) if ignore_punctuation else normalise(text)

    return lambda sample, answer: any(form(right) == form(answer) for right in right_answers(sample))


def contains(context: ScoringContext, text: str | None = None, ignore_case: bool = True) -> ScoreFunction:
    """Whether the answer holds a given text, or else one of the right answers."""

    def form(one: str) -> str:
        return normalise(one) if ignore_case else one.strip()

    if text is not None and not form(text):
        raise AskError("scorer contains: 'text' is empty, which every answer holds.")

    def score(sample: Sample, answer: str) -> bool | None:
        wanted = [form(text)] if text is not None else [form(right) for right in right_answers(sample)]
        wanted = [one for one in wanted if one]
        return any(one in form(answer) for one in wanted) if wanted else None

    return score


def regex(context: ScoringContext, pattern: str, whole: bool = False) -> ScoreFunction:
    """Whether a regular expression matches somewhere in the answer, or the whole of it."""
    find = pattern_finder(pattern, whole)
    return lambda sample, answer: find(answer) is not None


def pattern_finder(pattern: str, whole: bool = False) -> Callable[[str], str | None]:
    """What finds a pattern's last match in a text: its first group, or all of it; None where it matches not.

    A pattern that takes longer than a second on a text raises TimeoutError. AskError for an invalid one.
    """
    try:
        import regex as engine
    except ImportError as error:
        raise NeedsError(
            f"patterns need the package regex ({error}). Install: {install_hint('scorers')}"
        ) from error
    try:
        compiled = engine.compile(pattern)
    except engine.error as error:
        raise AskError(f"invalid pattern {pattern!r}: {error}") from error

    def find(text: str) -> str | None:
        if whole:
            found = compiled.fullmatch(text.strip(), timeout=_REGEX_TIMEOUT_S)
        else:
            matches = compiled.finditer(text, timeout=_REGEX_TIMEOUT_S)
            found = next(iter(deque(matches, maxlen=1)), None)
        if found is None:
            return None
        return str(found[1] or "") if compiled.groups else str(found[0])

    return find


def numeric(
    context: ScoringContext, tolerance: Decimal = Decimal(0), relative_tolerance: Decimal = Decimal(0)
) -> ScoreFunction:
    """The last number of the answer is that of the right answer, compared as decimals, not as text."""
    if not (tolerance >= 0 and relative_tolerance >= 0):  # NaN too
        raise AskError("scorer numeric: a tolerance is a number of 0 or more.")

    def score(sample: Sample, answer: str) -> bool:
        wanted = [last_number(right) for right in right_answers(sample)]
        if None in wanted:
            raise ValueError("the right answer holds no number")
        got = last_number(answer)
        return got is not None and any(
            abs(got - one) <= max(tolerance, relative_tolerance * abs(one))
            for one in wanted
            if one is not None
        )

    return score


def last_number(text: str) -> Decimal | None:
    """The last number in a text, thousands commas left out; None without one."""
    found = _NUMBER.findall(text.replace("\u2212", "-"))
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None


def token_f1(context: ScoringContext) -> ScoreFunction:
    """F1 of the words shared with the best right answer (Rajpurkar et al., EMNLP 2016, any script)."""
    return lambda sample, answer: max(overlap_f1(words(one), words(answer)) for one in right_answers(sample))


def rouge_l(context: ScoringContext) -> ScoreFunction:
    """ROUGE-L: F1 of the longest common subsequence of words (Lin, 2004, any script)."""
    longest = _rapidfuzz().LCSseq.similarity

    def alike(right: str, answer: str) -> float:
        wanted, got = words(right), words(answer)
        return 2 * float(longest(wanted, got)) / (len(wanted) + len(got)) if wanted or got else 1.0

    return lambda sample, answer: max(alike(one, answer) for one in right_answers(sample))


def edit_similarity(context: ScoringContext) -> ScoreFunction:
    """1 less the Levenshtein distance over the longer length, case and all, but for white space around."""
    alike = _rapidfuzz().Levenshtein.normalized_similarity
    return lambda sample, answer: max(
        float(alike(one.strip(), answer.strip())) for one in right_answers(sample)
    )


def bleu(context: ScoringContext, tokenize: Literal["13a", "intl", "zh", "char"] = "13a") -> ScoreFunction:
    """Sentence BLEU of sacrebleu with effective order, divided by 100; `zh` for Chinese."""
    metric = _sacrebleu().BLEU(effective_order=True, tokenize=tokenize)
    return lambda sample, answer: min(
        1.0, metric.sentence_score(answer, list(right_answers(sample))).score / 100
    )


def chrf(context: ScoringContext) -> ScoreFunction:
    """Sentence chrF of sacrebleu (character n-grams, any script), divided by 100."""
    metric = _sacrebleu().CHRF()
    return lambda sample, answer: min(
        1.0, metric.sentence_score(answer, list(right_answers(sample))).score / 100
    )


def choice(context: ScoringContext) -> ScoreFunction:
    """The answer names the right choice: its text, or its letter as in `B`, `(B)`, `B. text`, `Answer: B`."""

    def score(sample: Sample, answer: str) -> bool:
        right = {chosen(sample, one) for one in right_answers(sample)} - {None}
        if not right:
            raise ValueError("no right answer is one of the choices")
        return chosen(sample, answer) in right

    return score


def chosen(sample: Sample, answer: str) -> int | None:
    """The number of the choice that an answer names, from 0; None when it names none."""
    forms = [label_form(one) for one in sample.choices]
    if (said := label_form(answer)) in forms:
        return forms.index(said)
    letters = _LETTER_ALONE.match(answer), _LETTER_FIRST.match(answer.strip())
    letter = next((found[1] for found in letters if found), None)
    letter = letter or "".join(next(reversed(_LETTER_SAID.findall(answer)), ()))
    number = ord(letter.upper()) - ord("A") if letter else -1
    return number if 0 <= number < len(forms) else None


def _rapidfuzz() -> Any:
    try:
        from rapidfuzz import distance
    except ImportError as error:
        raise NeedsError(
            f"this scorer needs rapidfuzz ({error}). Install: {install_hint('scorers')}"
        ) from error
    return distance


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise NeedsError(
            f"this scorer needs sacrebleu ({error}). Install: {install_hint('scorers')}"
        ) from error
    return metrics
