"""A source looked at once, before anything is made of it: what is in it, and what is odd about it."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .filters.language import script_of
from .personal import find_personal_data
from .read import Reading, Source, read_samples
from .sample import Sample, Task, text_of
from .text import fingerprint

BYTES_A_TOKEN = 4
"""About, of UTF-8, for the tokenizers of common models; other scripts take more bytes a character."""
ROW_TOKENS = (256, 512, 1024, 2048, 4096)
"""The lengths of rows, in tokens, that a profile counts the longer ones of."""
_LEAST_BYTES_A_TOKEN, _TEMPLATE_TOKENS = 3, 32  # so that few rows turn out longer than was said
_BINS = 12
_SCRIPTS_LOOKED_AT = 2000
_MOST_TAGS = 50


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in characters or tokens: the median, the 95th percentile, and the longest.

    bins: (greatest length, texts) of each part of the range, of one width from the shortest to the 95th
    percentile; the last holds all that are longer.
    """

    p50: int = 0
    p95: int = 0
    longest: int = 0
    bins: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, lengths: array[int]) -> Lengths:
        """The figures of so many lengths; zeros for none."""
        ordered = sorted(lengths)
        if not ordered:
            return cls()
        last = len(ordered) - 1
        p95, longest = ordered[min(last, int(0.95 * len(ordered)))], ordered[last]
        return cls(ordered[len(ordered) // 2], p95, longest, _bins(ordered, p95))


def _bins(ordered: list[int], p95: int) -> tuple[tuple[int, int], ...]:
    """How many of ordered lengths lie in each part of their range."""
    width = max(1, -(-(p95 - ordered[0] + 1) // _BINS))
    ends = list(range(ordered[0] + width - 1, p95 + width, width))
    below = [bisect_right(ordered, end) for end in ends]
    found = [(end, n - before) for end, n, before in zip(ends, below, [0, *below], strict=False)]
    longer = len(ordered) - below[-1]
    return (*found, (ordered[-1], longer)) if longer else tuple(found)


@dataclass(frozen=True)
class SourceProfile:
    """What a pass over a source found.

    asked and answered: lengths in characters of what a model is given, and of right answers; asked_tokens and
    answered_tokens: about the same in tokens. rows_over: for each of ROW_TOKENS about how many rows are
    longer. same: rows whose question and answer are those of an earlier row; questions: different ones.
    labels: of `classify`, by falling number. scripts: share of the first rows by the script of their letters.
    personal: rows with personal data by kind, found by pattern. tags: number of values by tag. passages:
    different sets of contexts.
    """

    source: str
    task: Task
    rows: int
    columns: Mapping[str, str]
    unused: Mapping[str, int]
    dropped: Mapping[str, int]
    asked: Lengths
    answered: Lengths
    asked_tokens: Lengths
    answered_tokens: Lengths
    rows_over: Mapping[int, int]
    unanswered: int
    same: int
    questions: int
    labels: tuple[tuple[str, int], ...] = ()
    scripts: Mapping[str, float] = field(default_factory=dict)
    personal: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    grouped: int = 0
    passages: int = 0


def profile(source: Source) -> SourceProfile:
    """Go through a source once; AskError as of `read_samples`. Memory: 50 bytes a row, and the labels."""
    dropped: Counter[str] = Counter()
    reading: Reading = read_samples(source, lambda row: dropped.update([str(row.reason)]))
    counts = _Counts(reading.task)
    for sample in reading:
        counts.add(sample)
    return counts.profile(str(source.path), reading, dropped)


class _Counts:
    """What is counted of the samples of a source, one at a time."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._asked, self._answered = array("l"), array("l")
        self._asked_bytes, self._answered_bytes = array("l"), array("l")
        self._pairs, self._questions = array("Q"), array("Q")
        self._passages: set[int] = set()
        self._labels, self._scripts, self._personal = Counter[str](), Counter[str](), Counter[str]()
        self._over: Counter[int] = Counter()
        self._tags: dict[str, set[str]] = {}
        self._unanswered = self._grouped = 0

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        text, answer = prompt_text(sample), sample.answer
        if len(self._asked) < _SCRIPTS_LOOKED_AT:
            self._scripts.update([script_of(text)])
        self._asked.append(len(text))
        size, answer_size = (len(part.encode(errors="replace")) for part in (text, answer or ""))
        self._asked_bytes.append(size)
        self._count_tokens(size + answer_size)
        self._questions.append(_number(fingerprint(text)))
        if answer is None:
            self._unanswered += not sample.conversation[-1].get("tool_calls")
        else:
            self._add_answer(text, answer, answer_size)
        self._personal.update({one.kind for one in find_personal_data(f"{text}\n{answer or ''}")})
        self._grouped += sample.group is not None
        if sample.contexts:
            self._passages.add(_number("\n".join(sample.contexts)))
        for name, value in sample.tags.items():
            known = self._tags.setdefault(name, set())
            if len(known) <= _MOST_TAGS:
                known.add(value)

    def _add_answer(self, text: str, answer: str, size: int) -> None:
        self._answered.append(len(answer))
        self._answered_bytes.append(size)
        self._pairs.append(_number(f"{fingerprint(text)}\0{answer}"))
        if self._task == "classify":
            self._labels[answer] += 1

    def _count_tokens(self, size: int) -> None:
        tokens = size // _LEAST_BYTES_A_TOKEN + _TEMPLATE_TOKENS
        self._over.update(limit for limit in ROW_TOKENS if tokens > limit)

    def profile(self, source: str, reading: Reading, dropped: Mapping[str, int]) -> SourceProfile:
        """What was counted; reading: after its pass."""
        looked_at = max(sum(self._scripts.values()), 1)
        return SourceProfile(
            source=source,
            task=reading.task,
            rows=len(self._asked),
            columns=reading.columns,
            unused=dict(reading.unused),
            dropped=dict(dropped),
            asked=Lengths.of(self._asked),
            answered=Lengths.of(self._answered),
            asked_tokens=Lengths.of(_tokens(self._asked_bytes)),
            answered_tokens=Lengths.of(_tokens(self._answered_bytes)),
            rows_over={limit: self._over[limit] for limit in ROW_TOKENS},
            unanswered=self._unanswered,
            same=len(self._pairs) - len(set(self._pairs)),
            questions=len(set(self._questions)),
            labels=tuple(self._labels.most_common()),
            scripts={name: n / looked_at for name, n in self._scripts.most_common()},
            personal=dict(self._personal.most_common()),
            tags={name: len(values) for name, values in self._tags.items()},
            grouped=self._grouped,
            passages=len(self._passages),
        )


def _tokens(sizes: array[int]) -> array[int]:
    """About the tokens of texts of so many bytes."""
    return array("l", (-(-size // BYTES_A_TOKEN) for size in sizes))


def prompt_text(sample: Sample) -> str:
    """What a model is given, as one text: messages, passages and choices, a line each."""
    return "\n".join([*(text_of(one) for one in sample.prompt), *sample.contexts, *sample.choices])


def split_key(sample: Sample, by_passage: bool = False) -> str:
    """What must stay together when samples are split: the group, else the question however it is written.

    by_passage: questions about the same passages stay together too.
    """
    if sample.group is not None:
        return f"group {sample.group}"
    if by_passage and sample.contexts:
        return "passages " + fingerprint("\n".join(sample.contexts))
    return f"text {fingerprint(prompt_text(sample))}"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
