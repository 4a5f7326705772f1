"""How often drift raises a false alarm, and how often it sees new traffic: CLINC150, 2 cores, 10 minutes.

Reference: training texts of the first 8 domains. Quiet windows: validation texts of the same domains; in the
others a share comes from the last 2 domains. Labels are what TF-IDF with a linear SVM, trained on
the reference, predicts (a stand-in for a served model); 500 texts of the split that is not used for windows
are the held-out ones. Every window has its own seed, so its own permutations; windows overlap, as they are
drawn from 2,400 (or 3,600) texts. One window alone alarms at half of alpha. For windows together their
p-values are drawn, with replacement, into 1,000 streams of 30 daily windows.

    python benchmarks/drift.py [--windows 200] [--size 300] [--alpha 0.01] [--split val]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

import opswright
from opswright.skills.drift.checks import SAME_PEOPLE, Reference, Window, compare
from opswright.skills.drift.evidence import after_window

RAW = Path(opswright.__file__).parent / "examples/support_router/raw/clinc150"


def rows(split: str, intents: set[str]) -> tuple[list[str], list[str]]:
    """The texts and labels of one split whose intent is among `intents`."""
    data = json.loads((RAW / "data_full.json").read_text())
    kept = [(text, label) for text, label in data[split] if label in intents]
    return [text for text, _ in kept], [label for _, label in kept]


def predictor(texts: list[str], labels: list[str]):  # type: ignore[no-untyped-def]
    """TF-IDF with a linear SVM, the stand-in for a served model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LinearSVC()).fit(texts, labels)


def together(p_values: list[float], budget: float, rng: np.random.Generator) -> str:
    """Streams of 30 daily windows with these p-values: how many alarm, and after how many windows."""
    waited = []
    for _ in range(1000):
        state: tuple[float, int] = (1.0, 0)
        for day, p in enumerate(rng.choice(p_values, 30), 1):
            now = after_window(float(p), state, budget, checks_per_day=1)
            if now.alarm:
                waited.append(day)
                break
            state = (now.value, now.windows)
    if not waited:
        return "none of 1000 streams"
    middle, late = np.quantile(waited, [0.5, 0.95], method="higher")
    return f"{len(waited)} of 1000 streams, after {middle} windows (95 %: {late})"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument(
        "--reference",
        choices=("training", "traffic"),
        default="training",
        help="what windows are held against",
    )
    ask = parser.parse_args()

    domains = json.loads((RAW / "domains.json").read_text())
    names = list(domains)
    old = {intent for name in names[:8] for intent in domains[name]}
    new = {intent for name in names[-2:] for intent in domains[name]}
    texts, labels = rows("train", old)
    model = predictor(texts, labels)
    old_texts, old_labels = rows(ask.split, old)
    new_texts, _ = rows(ask.split, new)
    old_said, new_said = model.predict(old_texts), model.predict(new_texts)
    others, _ = rows("test" if ask.split == "val" else "val", old)
    held_said = model.predict(np.random.default_rng(0).choice(others, 500, replace=False))
    print(f"stand-in model: {np.mean(old_said == np.array(old_labels)):.1%} right on the quiet texts")

    started = time.perf_counter()
    if ask.reference == "traffic":  # 3,000 requests of the same people, each answered by the model
        earlier = np.random.default_rng(0).permutation([*others, *old_texts]).tolist()[:3000]
        references = [
            Reference(earlier, seed, labels, model.predict(earlier).tolist(), SAME_PEOPLE)
            for seed in range(4)
        ]
        earlier_set = set(earlier)
        kept = [i for i, text in enumerate(old_texts) if text not in earlier_set]
        old_texts, old_said = [old_texts[i] for i in kept], old_said[kept]
        texts = earlier
    else:
        references = [Reference(texts, seed, labels, held_said.tolist()) for seed in range(4)]
    print(f"reference of {len(texts)} texts: {(time.perf_counter() - started) / 4:.1f} s to fit")
    rng = np.random.default_rng(1)
    quiet, changed = (old_texts, old_said), (new_texts, new_said)
    for share in (0.0, 0.10, 0.25, 0.50):
        report(share, ask, references, quiet, changed, rng)


def report(share, ask, references, quiet, changed, rng):  # type: ignore[no-untyped-def]
    """Windows with a share of changed traffic: print how many alarm, by which tests, alone and together."""
    (old_texts, old_said), (new_texts, new_said) = quiet, changed
    fired: Counter[str] = Counter()
    raw: Counter[str] = Counter()
    p_values = []
    started = time.perf_counter()
    for seed in range(ask.windows):
        count = round(ask.size * share)
        a = rng.choice(len(old_texts), ask.size - count, replace=False)
        b = rng.choice(len(new_texts), count, replace=False)
        window = Window(
            [*(old_texts[i] for i in a), *(new_texts[i] for i in b)],
            [*(old_said[i] for i in a), *(new_said[i] for i in b)],
        )
        found = compare(references[seed % 4], window, ask.alpha / 2, seed)
        fired["alarm"] += found.alarm
        p_values.append(found.p)
        fired.update(check.name for check in found.checks if check.alarm)
        raw.update(check.name for check in found.checks if check.p <= ask.alpha / 2)
    each_ms = (time.perf_counter() - started) / ask.windows * 1000
    print(
        f"{share:4.0%} new: alarm in {fired.pop('alarm', 0):3d} of {ask.windows} windows of {ask.size}"
        f" | corrected {dict(sorted(fired.items()))} | alone {dict(sorted(raw.items()))}"
        f" | {each_ms:.0f} ms a window | together: {together(p_values, ask.alpha / 2, rng)}"
    )


if __name__ == "__main__":
    main()
