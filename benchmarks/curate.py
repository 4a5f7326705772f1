"""What curating costs and what its thresholds do: CLINC150, a minute on 2 cores.

Rows a second of the cleaning (8 domains of the training split against all 4,500 items of the test split), and
for each threshold the rows that go and the accuracy of TF-IDF with a linear SVM that is trained on the rest.

    python benchmarks/curate.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import time

from opswright.data.published import clinc150
from opswright.data.read import read_source
from opswright.evals.suites import load_suite
from opswright.skills.curate.clean import Cleaned, clean
from opswright.skills.curate.request import CurateRequest
from opswright.ui.demo import example_domains


def accuracy(train: list[tuple[str, str]]) -> float:
    """Of TF-IDF with a linear SVM, on the test items of the same domains."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    items = [
        item for item in load_suite("clinc150").items if item.tags["domain"] in example_domains("old_domains")
    ]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LinearSVC(random_state=0))
    model.fit([text for text, _ in train], [label for _, label in train])
    return float(model.score([item.question for item in items], [item.answer for item in items]))


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats

    import polars as pl

    ask = CurateRequest(source=clinc150.FOLDER)
    started = time.perf_counter()
    table = read_source(ask.rows).frame().with_columns(pl.lit(None, pl.String).alias("side"))
    read_s = time.perf_counter() - started
    table = table.filter(pl.col("domain").is_in(example_domains("old_domains")))
    golden = [item.question for item in load_suite("clinc150").items]
    rows = list(table.select("text", "label").iter_rows())

    def run(golden_jaccard: float, near: float) -> Cleaned:
        thresholds = {"golden_jaccard": golden_jaccard, "near_duplicate_jaccard": near}
        return clean(table, golden, ask.model_copy(update=thresholds))

    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run(0.8, 0.9)
        times.append(time.perf_counter() - started)
    texts = len(rows) + len(golden)
    print(f"read 15,000 rows in {read_s:.2f} s")
    print(f"clean {texts:,} texts in {min(times):.2f} s: {texts / min(times):,.0f} a second\n")

    print(f"{'golden':>6} {'near':>5} {'leaks':>6} {'duplicates':>10} {'rows':>6} {'LinearSVC':>9}")
    print(f"{'-':>6} {'-':>5} {0:>6} {0:>10} {len(rows):>6} {accuracy(rows):>9.2%}")
    for golden_jaccard, near in (
        (0.8, 0.7), (0.8, 0.8), (0.8, 0.9), (0.8, 1.0), (0.6, 0.9), (0.7, 0.9), (0.9, 0.9),
    ):  # fmt: skip
        cleaned = run(golden_jaccard, near)
        leaks = sum(str(one.reason).startswith("golden") for one in cleaned.dropped)
        kept = [rows[i] for i in cleaned.kept]
        others = len(cleaned.dropped) - leaks
        print(
            f"{golden_jaccard:>6} {near:>5} {leaks:>6} {others:>10} {len(kept):>6} {accuracy(kept):>9.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
