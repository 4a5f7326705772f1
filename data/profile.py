"""A source looked at once, before anything is made of it: what is in it, and what is odd about it."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .filters.language import script_of
from .personal import find_personal_data
from .read import Reading, Source, read_samples
from .sample import Sample, Task, text_of
from .text import fingerprint

CHARS_A_TOKEN = 4  # about, for the tokenizers of common models and languages in Latin letters
_SCRIPTS_LOOKED_AT = 2000
_MOST_TAGS = 50


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in characters: the median, the 95th percentile, and the longest."""

    p50: int = 0
    p95: int = 0
    longest: int = 0

    @classmethod
    def of(cls, lengths: array[int]) -> Lengths:
        """The figures of so many lengths; zeros for none."""
        ordered = sorted(lengths)
        if not ordered:
            return cls()
        last = len(ordered) - 1
        return cls(ordered[len(ordered) // 2], ordered[min(last, int(0.95 * len(ordered)))], ordered[last])


@dataclass(frozen=True)
class SourceProfile:
    """What a pass over a source found.

    asked and answered: lengths of what a model is given, and of right answers. same: rows whose question and
    answer are those of an earlier row; questions: different questions. labels: of `classify`, by falling
    number. scripts: share of the first rows by the script of their letters. personal: rows with personal data
    by kind, found by pattern. tags: number of values by tag. passages: different sets of contexts.
    """

    source: str
    task: Task
    rows: int
    columns: Mapping[str, str]
    unused: Mapping[str, int]
    dropped: Mapping[str, int]
    asked: Lengths
    answered: Lengths
    unanswered: int
    same: int
    questions: int
    labels: tuple[tuple[str, int], ...] = ()
    scripts: Mapping[str, float] = field(default_factory=dict)
    personal: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    grouped: int = 0
    passages: int = 0


def profile(
    source: Source,
    look: Callable[[Sample], None] = lambda sample: None,
) -> SourceProfile:
    """Go through a source once; AskError as of `read_samples`.

    look: gets every sample. Memory: about 32 bytes a row, and the labels.
    """
    dropped: Counter[str] = Counter()
    reading: Reading = read_samples(source, lambda row: dropped.update([str(row.reason)]))
    asked, answered, pairs, questions = array("l"), array("l"), array("Q"), array("Q")
    passages: set[int] = set()
    labels: Counter[str] = Counter()
    scripts: Counter[str] = Counter()
    personal: Counter[str] = Counter()
    tags: dict[str, set[str]] = {}
    unanswered = grouped = 0
    for number, sample in enumerate(reading):
        look(sample)
        text, answer = prompt_text(sample), sample.answer
        asked.append(len(text))
        questions.append(_number(fingerprint(text)))
        if answer is None:
            unanswered += not sample.conversation[-1].get("tool_calls")
        else:
            answered.append(len(answer))
            pairs.append(_number(f"{fingerprint(text)}\0{answer}"))
            if reading.task == "classify":
                labels[answer] += 1
        if number < _SCRIPTS_LOOKED_AT:
            scripts.update([script_of(text)])
        personal.update({one.kind for one in find_personal_data(f"{text}\n{answer or ''}")})
        grouped += sample.group is not None
        if sample.contexts:
            passages.add(_number("\n".join(sample.contexts)))
        for name, value in sample.tags.items():
            known = tags.setdefault(name, set())
            if len(known) <= _MOST_TAGS:
                known.add(value)
    looked_at = max(sum(scripts.values()), 1)
    return SourceProfile(
        source=str(source.path),
        task=reading.task,
        rows=len(asked),
        columns=reading.columns,
        unused=dict(reading.unused),
        dropped=dict(dropped),
        asked=Lengths.of(asked),
        answered=Lengths.of(answered),
        unanswered=unanswered,
        same=len(pairs) - len(set(pairs)),
        questions=len(set(questions)),
        labels=tuple(labels.most_common()),
        scripts={name: n / looked_at for name, n in scripts.most_common()},
        personal=dict(personal.most_common()),
        tags={name: len(values) for name, values in tags.items()},
        grouped=grouped,
        passages=len(passages),
    )


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
