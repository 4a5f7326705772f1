"""Baselines: what a model must beat to be worth its trouble, fitted on the rows it was trained on."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.artifact_refs import DatasetRef
from ..core.artifacts import ArtifactStore
from ..core.errors import AskError, OpswrightError
from ..data.sample import Sample, Task
from ..data.text import label_form
from .copy_rules import keep_said, nearest_passage
from .report import BASELINES, TRIVIAL_BASELINES

VERSION = 3  # a change of what is fitted; answers kept from another version are not used again

SAYS = {
    "majority": "the most frequent training label",
    "tfidf_logreg": "TF-IDF of words and word pairs, multinomial logistic regression (C=20, SAGA, 20 passes)",
    "tfidf_svc": "TF-IDF of words and word pairs, linear support vector machine (C=1, one against the rest)",
    "constant": "the most frequent training answer",
    "copy": "what the user said, given back",
    "passage": "the passage that shares the most words with the question",
    "nearest": "the answer of the training row whose words are nearest (TF-IDF, cosine)",
    "nearest_said": "the same, without the texts of it that the user did not say",
    "first_choice": "the first choice",
    "longest_choice": "the longest choice",
}
_MOST_LINEAR = 4_000_000  # training rows times labels of a linear model: a few seconds, below 1 GB
_MOST_NEAREST = 100_000  # training rows that are searched
_CHUNK = 512


@dataclass(frozen=True)
class Baseline:
    """What one baseline answered, in the order of the items, and the seconds its fit took."""

    name: str
    answers: tuple[str, ...]
    fit_s: float


@dataclass(frozen=True)
class BaselineRun:
    """The baselines that fit a task, and why others that might were left out, by name."""

    baselines: tuple[Baseline, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)


Rows = Sequence[tuple[str, str]]
"""(what the user says, the right answer) of each training row."""


def run_baselines(
    task: Task, train: Rows | None, asked: Sequence[Sample], progress: Callable[[int, int], None]
) -> BaselineRun:
    """Each baseline that fits the task, asked every item.

    train: rows to fit on; None: they are not known, and only what needs none is run. AskError for no rows.
    """
    if train is not None and not train:
        raise AskError("baselines need training rows; the dataset has none.")
    return answers_of(_MAKERS.get(task, {}), train, asked, progress)


def answers_of(
    makers: Mapping[str, Maker],
    train: Rows | None,
    asked: Sequence[Sample],
    progress: Callable[[int, int], None],
) -> BaselineRun:
    """What each maker answers; one that raises Skipped is left out, and why is kept."""
    found: list[Baseline] = []
    skipped: dict[str, str] = {}
    for done, (name, make) in enumerate(makers.items(), 1):
        started = time.perf_counter()
        try:
            answers = make(train, asked)
        except Skipped as error:
            skipped[name] = str(error)
        else:
            fit_s = 0.0 if name in TRIVIAL_BASELINES else round(time.perf_counter() - started, 3)
            found.append(Baseline(name, tuple(answers), fit_s))
        progress(done, len(makers))
    return BaselineRun(tuple(found), skipped)


class Skipped(Exception):
    """Why a baseline makes no sense here."""


def needed(train: Rows | None) -> Rows:
    """The rows; Skipped where they are not known."""
    if train is None:
        raise Skipped("the training rows are not known")
    return train


def _majority(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [_most_frequent(label for _, label in one_spelling(needed(train)))] * len(asked)


def _constant(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [_most_frequent(answer for _, answer in needed(train))] * len(asked)


def _most_frequent(answers: Iterable[str]) -> str:
    met = Counter(answers)
    return min(met, key=lambda answer: (-met[answer], answer))


def _copy(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [item.question for item in asked]


def _passage(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    if not any(item.contexts for item in asked):
        raise Skipped("no item has passages")
    return [nearest_passage(item) for item in asked]


def _first_choice(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [item.choices[0] for item in asked]


def _longest_choice(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [max(item.choices, key=len) for item in asked]


def _logreg(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    """20 passes: on 12,000 rows of 120 intents as good in 2 s as after convergence with L-BFGS in 24 s."""
    from sklearn.linear_model import LogisticRegression

    return _linear(LogisticRegression(C=20, solver="saga", max_iter=20, random_state=0), train, asked)


def _svc(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    from sklearn.svm import LinearSVC

    return _linear(LinearSVC(C=1.0, random_state=0), train, asked)


def _linear(classifier: Any, train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    rows = one_spelling(needed(train))
    labels = [label for _, label in rows]
    kinds = len(set(labels))
    if kinds < 2:
        raise Skipped("the training rows have one label")
    if kinds * len(rows) > _MOST_LINEAR:
        raise Skipped(f"{kinds:,} labels over {len(rows):,} rows: too many for a linear model in seconds")
    texts, prompts = vectors([text for text, _ in rows], asked)
    return predicted(classifier, texts, labels, prompts)


def predicted(classifier: Any, texts: Any, labels: Sequence[str], prompts: Any) -> list[str]:
    """What a classifier that learned labels of texts, as vectors, says of prompts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # stopped early on purpose; few rows for many labels
        classifier.fit(texts, labels)
    return list(map(str, classifier.predict(prompts)))


def _nearest(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    return [answer for _, answer in _nearest_rows(train, asked)]


def _nearest_said(train: Rows | None, asked: Sequence[Sample]) -> list[str]:
    nearest = _nearest_rows(train, asked)
    return [
        keep_said(answer, text, item.question) for (text, answer), item in zip(nearest, asked, strict=True)
    ]


def _nearest_rows(train: Rows | None, asked: Sequence[Sample]) -> Rows:
    """The training row nearest to each item. Bounded: of more than are searched, every k-th is."""
    rows = needed(train)
    step = -(-len(rows) // _MOST_NEAREST)
    rows = rows[::step]
    texts, prompts = vectors([text for text, _ in rows], asked)
    found: list[tuple[str, str]] = []
    for start in range(0, prompts.shape[0], _CHUNK):
        alike = prompts[start : start + _CHUNK] @ texts.T  # (asked, rows), sparse
        found += [rows[int(row)] for row in alike.argmax(axis=1).A1]
    return found


def vectors(texts: Sequence[str], asked: Sequence[Sample]) -> tuple[Any, Any]:
    """TF-IDF of words and word pairs, of training texts and of what is asked."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    try:
        return vectorizer.fit_transform(texts), vectorizer.transform([item.question for item in asked])
    except ValueError as error:  # no word of two letters in any text: nothing to fit on
        raise Skipped("the training texts have no words") from error


def one_spelling(train: Rows) -> list[tuple[str, str]]:
    """The rows, each label in the spelling that is the most frequent of its form."""
    spelled: dict[str, Counter[str]] = {}
    for _, label in train:
        spelled.setdefault(label_form(label), Counter())[label] += 1
    usual = {form: min(n, key=lambda label: (-n[label], label)) for form, n in spelled.items()}
    return [(text, usual[label_form(label)]) for text, label in train]


Maker = Callable[[Rows | None, Sequence[Sample]], Sequence[str]]
_FREE: dict[str, Maker] = {"constant": _constant, "copy": _copy, "nearest": _nearest}
_MAKERS: Mapping[Task, Mapping[str, Maker]] = {
    "classify": {"majority": _majority, "tfidf_logreg": _logreg, "tfidf_svc": _svc},
    "generate": _FREE,
    "chat": _FREE,
    "answer": {**_FREE, "passage": _passage},
    "extract": {"constant": _constant, "nearest": _nearest, "nearest_said": _nearest_said},
    "choose": {"first_choice": _first_choice, "longest_choice": _longest_choice},
}


def to_document(run: BaselineRun, ids: Sequence[str]) -> dict[str, Any]:
    """The answers as they are kept beside a report; `ids` names the items they answer."""
    return {
        "version": VERSION,
        "ids": list(ids),
        "baselines": [asdict(one) for one in run.baselines],
        "skipped": dict(run.skipped),
    }


def kept_answers(
    store: ArtifactStore, train: DatasetRef | None, suite_digest: str, ids: Sequence[str]
) -> BaselineRun | None:
    """The answers that an earlier report holds for the same training rows and items; None without one."""
    for ref, manifest in store.list("eval-report"):
        facts = manifest["facts"]
        if facts.get("train_dataset") != train or facts["suite_digest"] != suite_digest:
            continue
        if BASELINES not in manifest["files"]:
            continue
        try:
            document = store.open(ref).read_json(BASELINES)
        except OpswrightError:  # damaged: `audit verify` is where that is said
            continue
        if document["version"] == VERSION and document["ids"] == list(ids):
            kept = (
                Baseline(one["name"], tuple(one["answers"]), one["fit_s"]) for one in document["baselines"]
            )
            return BaselineRun(tuple(kept), document["skipped"])
    return None
