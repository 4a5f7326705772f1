"""Shortcuts: rules that know one thing about an item, and how far each of them gets on a suite.

Where a rule that sees only a text's length, or one word, does as well as the model, the suite does not show
that the model understands what it is asked. The control answers from shuffled training answers: it shows how
much a suite and its scorers give away for nothing.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.sample import Sample, Task
from ..data.text import label_form
from .baselines import BaselineRun, Maker, Rows, Skipped, answers_of, needed, one_spelling, predicted, vectors
from .gate_rows import rise_p
from .gate_scores import common_pairs, drops_on
from .report import figure
from .runner import EvalResult

SAYS = {
    "length": "the number of characters and of words, by a decision tree of 32 leaves",
    "keyword": "one word for each label, the one that tells most",
    "choices_only": "the choice that is the right answer most often in training",
    "place": "the choice, or the first sentence of the passage, in the place that is right most often in the "
    "other half of the suite",
    "lead": "the first sentence of the first passage",
    "shuffled": "learned from, or taken from, training answers in a random order",
}
_LEAVES = 32
_SENTENCE = re.compile(r"(?<=[.!?\u3002\u0964])\s")
_ALPHA = 0.05


@dataclass(frozen=True)
class Shortcut:
    """How far one rule gets: its mean score with its 95 % interval, and what that says of the model.

    is_beaten: whether the model is shown to be better, item by item, at 0.05.
    """

    name: str
    n: int
    value: float
    low: float
    high: float
    is_beaten: bool

    @property
    def message(self) -> str:
        """What a reader should know; empty where the model is shown to be better."""
        if self.is_beaten:
            return ""
        return (
            f"the model is not shown to be better than a shortcut, {self.name} ({SAYS[self.name]}), "
            f"which has {self.value:.1%}"
        )


def run_shortcuts(task: Task, train: Rows | None, asked: Sequence[Sample]) -> BaselineRun:
    """Every rule that fits the task, asked every item; without training rows, those that need none."""
    return answers_of(_MAKERS.get(task, {}), train, asked, lambda done, of: None)


def shortcut_of(name: str, measured: EvalResult, answered: EvalResult) -> Shortcut | None:
    """A rule's answers beside the model's, by what the suite is judged by; None where nothing was scored."""
    metric = measured.metric
    figures = figure(answered.items, metric, measured.scorers[metric])
    if figures["value"] is None:
        return None
    drops = drops_on(common_pairs(answered, measured, None), metric)
    return Shortcut(name, **figures, is_beaten=rise_p(drops) <= _ALPHA)


def _length(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    from sklearn.tree import DecisionTreeClassifier

    rows = one_spelling(needed(train))
    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0)
    sizes, labels = [_size(text) for text, _ in rows], [label for _, label in rows]
    return predicted(tree, sizes, labels, [_size(item.question) for item in asked])


def _size(text: str) -> tuple[int, int]:
    return len(text), len(text.split())


def _keyword(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    """Of each label the word with the highest F1; an item with several has the label of the most precise."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    rows = one_spelling(needed(train))
    labels = sorted({label for _, label in rows})
    place = {label: at for at, label in enumerate(labels)}
    counter = CountVectorizer(binary=True)
    try:
        words = counter.fit_transform([text for text, _ in rows])  # (rows, words)
    except ValueError as error:
        raise Skipped("the training texts have no words") from error
    column = [place[label] for _, label in rows]
    member = csr_matrix((np.ones(len(rows)), (column, range(len(rows)))))  # (labels, rows)
    together = (member @ words).tocsr()  # how many rows of a label hold a word
    of_label, with_word = member.sum(axis=1).A1, words.sum(axis=0).A1
    best, precision = np.zeros(len(labels), dtype=int), np.zeros(len(labels))
    for at in range(len(labels)):
        held = together[at]
        f1 = held.data / (of_label[at] + with_word[held.indices])
        if len(f1):
            best[at] = held.indices[f1.argmax()]
            precision[at] = held.data[f1.argmax()] / with_word[best[at]]
    met = counter.transform([item.question for item in asked])[:, best].toarray() * precision
    usual = labels[int(of_label.argmax())]
    return [labels[int(row.argmax())] if row.any() else usual for row in met]


def _choices_only(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    right: dict[str, int] = {}
    for _, answer in needed(train):
        right[label_form(answer)] = right.get(label_form(answer), 0) + 1
    return [max(item.choices, key=lambda choice: right.get(label_form(choice), 0)) for item in asked]


def _place_of_choice(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    """The choice where the right one stands most often."""
    places = [_right_place(item.choices, label_form(item.answer or "")) for item in asked]
    usual = _usual_elsewhere(places)
    return [item.choices[min(at, len(item.choices) - 1)] for item, at in zip(asked, usual, strict=True)]


def _right_place(choices: Sequence[str], answer: str) -> int | None:
    return next((at for at, choice in enumerate(choices) if label_form(choice) == answer), None)


def _place_of_passage(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    """The first sentence of the passage where the one that holds the right answer stands most often."""
    places = []
    for item in asked:
        answer = " ".join((item.answer or "").casefold().split())
        holds = (answer and answer in " ".join(one.casefold().split()) for one in item.contexts)
        places.append(next((at for at, found in enumerate(holds) if found), None))
    usual = _usual_elsewhere(places)
    return [
        _first_sentence(item.contexts[min(at, len(item.contexts) - 1)]) if item.contexts else ""
        for item, at in zip(asked, usual, strict=True)
    ]


def _usual_elsewhere(places: Sequence[int | None]) -> list[int]:
    """For each item the place met most often in the half of the suite that it is not in."""
    halves = [Counter(place for place in places[side::2] if place is not None) for side in (0, 1)]
    if not all(halves):
        raise Skipped("the right answer stands in too few of the choices or passages")
    best = [min(half, key=lambda place: (-half[place], place)) for half in halves]
    return [best[1 - number % 2] for number in range(len(places))]


def _first_sentence(text: str) -> str:
    return _SENTENCE.split(text.strip(), 1)[0]


def _lead(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    if not any(item.contexts for item in asked):
        raise Skipped("the items have no passages")
    return [_first_sentence(item.contexts[0]) if item.contexts else "" for item in asked]


def _shuffled_answers(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    answers = [answer for _, answer in needed(train)]
    return random.Random(0).choices(answers, k=len(asked))


def _shuffled_labels(train: Rows | None, asked: Sequence[Sample]) -> Sequence[str]:
    """A naive Bayes model that learned every text with the label of another."""
    from sklearn.naive_bayes import MultinomialNB

    rows = one_spelling(needed(train))
    labels = [label for _, label in rows]
    random.Random(0).shuffle(labels)
    texts, prompts = vectors([text for text, _ in rows], asked)
    return predicted(MultinomialNB(), texts, labels, prompts)


_MAKERS: Mapping[Task, Mapping[str, Maker]] = {
    "classify": {"length": _length, "keyword": _keyword, "shuffled": _shuffled_labels},
    "choose": {"choices_only": _choices_only, "place": _place_of_choice},
    "answer": {"lead": _lead, "place": _place_of_passage, "shuffled": _shuffled_answers},
    "generate": {"shuffled": _shuffled_answers},
    "chat": {"shuffled": _shuffled_answers},
    "extract": {"shuffled": _shuffled_answers},
}


def to_facts(found: Sequence[Shortcut]) -> dict[str, Any]:
    """The figures as a report has them, by name."""
    return {
        one.name: {"n": one.n, "value": one.value, "low": one.low, "high": one.high, "beaten": one.is_beaten}
        for one in found
    }
