"""What `semantic_duplicates` leaves out: planted rows in other words found, and rows that nobody planted.

Rows of CLINC150 as labels (`classify`), and of BANKING77 as questions with an answer of their intent
(`generate`). Planted: 100 rows in another order of words, 100 asked politely, and for CLINC150 what a person
put in other words (`paraphrases.tsv`). What is left out unplanted is shown, for a person to judge.

    python benchmarks/same_meaning.py CLINC150 BANKING77 [--rows 4000]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.published import clinc150
from opswright.data.rows import Reason
from opswright.skills.curate import CurateRequest, curate

HERE = Path(__file__).parent
_EACH = 100


def planted(rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Rows in other words: text, answer, and how they were made."""
    rng = random.Random(0)
    found = [(" ".join(rng.sample(text.split(), len(text.split()))), answer, "another order")
             for text, answer in rows[:_EACH]]  # fmt: skip
    polite = rows[_EACH : 2 * _EACH]
    return found + [(f"could you please tell me {text}", answer, "politely") for text, answer in polite]


def by_person(rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """What a person put in other words, of rows that are there."""
    answers = dict(rows)
    pairs = [line.split("\t") for line in (HERE / "paraphrases.tsv").read_text().splitlines() if "\t" in line]
    return [(two, answers[one], "by a person") for one, two, *_ in pairs if one in answers]


def count(
    name: str, rows: list[tuple[str, str]], extra: list[tuple[str, str, str]], task: str, shown: int
) -> None:
    """Print what is left out at some cosines."""
    names = ("text", "label") if task == "classify" else ("question", "answer")
    every = [*rows, *((text, answer) for text, answer, _ in extra)]
    how = {text: made for text, _, made in extra}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in every))
        for least in (0.95, 0.9, 0.85, 0.8):
            workspace = Workspace(load_settings(home=Path(folder) / f"home{least}"))
            ctx = StepContext(workspace, "r", "data", f"k{least}", workspace.root)
            started = time.process_time()
            asked = CurateRequest.model_validate(
                {"source": source, "task": task, "semantic_duplicates": {"min_cosine": least}}
            )
            result = curate(asked, ctx)
            cpu = time.process_time() - started
            path = ctx.artifacts.open(result.dataset).path / "dropped.jsonl"
            left = [json.loads(line) for line in path.read_text().splitlines()]
            mine = [row for row in left if row["reason"] == Reason.SEMANTIC_DUPLICATE]
            found = Counter(how.get(row["text"], "not planted") for row in mine)
            n = Counter(how.values())
            told = ", ".join(f"{made} {found[made]} of {n[made]}" for made in n)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name} ({task}), {len(every):,} rows, cosine {least}: {told}; not planted "
                  f"{found['not planted']}; CPU {cpu:.0f} s, at most {peak:,.0f} MB so far")  # fmt: skip
            others = [row for row in mine if row["text"] not in how]
            for row in random.Random(1).sample(others, min(shown, len(others))):
                other = every[int(row["detail"].rsplit(" ", 1)[1]) - 1][0]
                print(f"    {row['detail'][:12]} {row['text'][:90]!r} {other[:90]!r}")


def main() -> None:
    """Print the figures of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clinc150", type=Path)
    parser.add_argument("banking77", type=Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--shown", type=int, default=0, help="rows left out unplanted to show at each cosine")
    asked = parser.parse_args()
    intents = [(row.text, row.label) for row in clinc150.read_rows(asked.clinc150, "train")][: asked.rows]
    count("CLINC150", intents, [*planted(intents), *by_person(intents)], "classify", asked.shown)
    lines = (asked.banking77 / "train.csv").read_text().splitlines()[1:]
    said = [line.rsplit(",", 1) for line in lines if line.count(",") == 1 and '"' not in line][: asked.rows]
    pairs = [(text, f"An answer about {label}.") for text, label in said]
    count("BANKING77", pairs, planted(pairs), "generate", asked.shown)


if __name__ == "__main__":
    main()
