"""Baselines: what a model must beat to be worth its trouble, fitted on the rows it was trained on."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.artifacts import ArtifactStore, DatasetRef
from ..core.errors import AskError, OpswrightError
from ..data.text import label_form
from .report import BASELINES

VERSION = 1  # a change of what is fitted; answers kept from another version are not used again

SAYS = {
    "majority": "the most frequent training label",
    "tfidf_logreg": "TF-IDF of words and word pairs, multinomial logistic regression (C=20, SAGA, 20 passes)",
    "tfidf_svc": "TF-IDF of words and word pairs, linear support vector machine (C=1, one against the rest)",
}


@dataclass(frozen=True)
class Baseline:
    """What one baseline answered, in the order of the prompts, and the seconds its fit took."""

    name: str
    answers: tuple[str, ...]
    fit_s: float


def run_baselines(
    train: Sequence[tuple[str, str]], prompts: Sequence[str], progress: Callable[[int, int], None]
) -> list[Baseline]:
    """Each baseline fitted on (text, label) rows and asked every prompt.

    Spellings of one label are one class, answered by the most frequent of them. With one label in `train`, or
    no words, only the majority class is given. Raises AskError without rows.
    """
    if not train:
        raise AskError("baselines need training rows; the dataset has none.")
    train = _one_spelling(train)
    labels = Counter(label for _, label in train)
    majority = min(labels, key=lambda label: (-labels[label], label))
    found = [Baseline("majority", (majority,) * len(prompts), 0.0)]
    progress(1, len(SAYS))
    if len(labels) > 1:
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2))
        try:
            texts = vectorizer.fit_transform([text for text, _ in train])
        except ValueError:  # no word of two letters in any text: nothing to fit on
            return found
        asked = vectorizer.transform(prompts)
        for name, classifier in (("tfidf_logreg", _logistic_regression()), ("tfidf_svc", _linear_svc())):
            found.append(_fit(name, classifier, texts, [label for _, label in train], asked))
            progress(len(found), len(SAYS))
    return found


def _one_spelling(train: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The rows, each label in the spelling that is the most frequent of its form."""
    spelled: dict[str, Counter[str]] = {}
    for _, label in train:
        spelled.setdefault(label_form(label), Counter())[label] += 1
    usual = {form: min(n, key=lambda label: (-n[label], label)) for form, n in spelled.items()}
    return [(text, usual[label_form(label)]) for text, label in train]


def _fit(name: str, classifier: Any, texts: Any, labels: list[str], asked: Any) -> Baseline:
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # stopped early on purpose; few rows for many labels
        classifier.fit(texts, labels)
    fit_s = time.perf_counter() - started
    return Baseline(name, tuple(map(str, classifier.predict(asked))), round(fit_s, 3))


def _logistic_regression() -> Any:
    """20 passes: 91.6 % on CLINC150's old domains in 2 s, as after convergence with L-BFGS in 24 s."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=20, solver="saga", max_iter=20, random_state=0)


def _linear_svc() -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=1.0, random_state=0)


def to_document(baselines: Sequence[Baseline], ids: Sequence[str]) -> dict[str, Any]:
    """The answers as they are kept beside a report; `ids` names the items they answer."""
    return {"version": VERSION, "ids": list(ids), "baselines": [asdict(one) for one in baselines]}


def kept_answers(
    store: ArtifactStore, train: DatasetRef, suite_digest: str, ids: Sequence[str]
) -> list[Baseline] | None:
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
            return [
                Baseline(one["name"], tuple(one["answers"]), one["fit_s"]) for one in document["baselines"]
            ]
    return None
