"""What the memory finds and what it costs: 100 questions about a demo's workspace, then 50,000 passages.

The questions are about what `opswright demo` leaves and about the docs (`memory_questions.tsv`: question, the
runs and steps, or the pages, that hold the answer, and what it says). One is found when one of the first five
passages is of such a run or page and says all of it; answered, when the fact or the first passage does.

    opswright --home DEMO demo; python benchmarks/memory.py DEMO [--passages 50000] [--rows clinc150]
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opswright.agents.memory import MemoryIndex, QuestionFilters, answer
from opswright.agents.memory.builder import COLUMNS
from opswright.agents.memory.facts import fact_finder
from opswright.agents.memory.passages import one_value
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.published import clinc150
from opswright.engines.vectors import (
    LiteServer,
    TextEncoder,
    TextRow,
    VectorCollection,
    VectorQuantiser,
    blended,
)
from opswright.engines.vectors.collection import is_one_of
from opswright.engines.vectors.similar import SimilarTexts
from opswright.record.index import LedgerIndex
from opswright.skills import load_registry

HERE = Path(__file__).parent
SETS = ("memory_questions.tsv", "memory_held_out.tsv", "memory_held_out_2.tsv", "memory_held_out_3.tsv")


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of this process, and wall seconds, of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def holders(named: str, index: LedgerIndex, runs: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """For each holder its run, or page, and the values that an answer may name."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for one in named.split(", "):
        if one.startswith("docs/"):
            found.append((one, {}))
            continue
        run, _, step = one.partition("/")
        state = index.run_state(runs[int(run) - 1])
        assert state is not None
        values = dict(state.steps[step].result) if step else {}
        found.append((state.run, {"actor": state.first.actor, **values}))
    return found


def says(text: str, wanted: str, values: Mapping[str, Any]) -> bool:
    """Whether a text says all that is wanted; `{name.name}` is the value of a record."""

    def value(match: re.Match[str]) -> str:
        at: Any = values
        for name in match[1].split("."):
            at = at[name]
        return one_value(at)

    parts = [re.sub(r"\{([\w.]+)\}", value, part) for part in wanted.split("|")]
    return all(part.lower() in text.lower() for part in parts)


def ask_all(workspace: Workspace, names: Sequence[str], only: str, verbose: bool) -> None:
    """Print how many questions of each set are found and answered, and those that are not."""
    with MemoryIndex(workspace, print) as index:
        cpu_s, wall_s = seconds(index.bring_up)
        print(f"index from nothing: CPU {cpu_s:.1f} s, wall {wall_s:.1f} s")
        print(f"passages: {index.count()}")
        index.search("a question before the clock runs")
        for name in names:
            lines = [line.split("\t") for line in (HERE / name).read_text().splitlines()]
            lines = [line for line in lines if only in " ".join(line[3:])]
            by_class: dict[str, list[Outcome]] = {}
            for question, named, wanted, *rest in lines:
                outcome = ask_one(workspace, index, question, named, wanted)
                by_class.setdefault(rest[1] if rest else "all", []).append(outcome)
            print(f"{name}: {len(lines)} questions{', held out' if 'held' in name else ''}")
            for label, outcomes in by_class.items():
                tell(f"  {label}", outcomes, verbose)
            if len(by_class) > 1:
                there = [one for label, some in by_class.items() if label != "absent" for one in some]
                tell("  all that is there", there, False)


@dataclass(frozen=True)
class Outcome:
    """How one question went. rank: of the first passage that holds the answer, 0 for none.

    wrong: a fact that was stated, and does not say what is asked for.
    """

    question: str
    rank: int
    answered: bool
    nothing: bool
    wrong: str
    first: str
    cpu_ms: float


def ask_one(workspace: Workspace, index: MemoryIndex, question: str, named: str, wanted: str) -> Outcome:
    """Ask one question; `none` as its holder asks for the reply that nothing is recorded."""
    ledger = LedgerIndex.of(workspace)
    runs = [row.run for row in ledger.rows()][::-1]
    started = time.process_time()
    reply = answer(question, QuestionFilters(), index, facts=fact_finder(workspace, load_registry()))
    cpu_ms = 1000 * (time.process_time() - started)
    first = reply.passages[0].passage.title if reply.passages else ""
    facts = " ".join(fact.text for fact in reply.facts)
    if named == "none":
        denied = bool(re.search(r"\b(no|not|none|nothing|never)\b", facts, re.I))
        nothing = denied if facts else getattr(reply, "nothing", not reply.passages)
        return Outcome(question, 0, nothing, nothing, "" if denied else facts, first, cpu_ms)
    one_of = holders(named, ledger, runs)
    rank = next(
        (
            one.number
            for one in reply.passages
            for where, values in one_of
            if where in (one.passage.run, one.passage.source) and says(one.passage.searched, wanted, values)
        ),
        0,
    )
    told = any(says(fact.text, wanted, values) for fact in reply.facts for _, values in one_of)
    wrong = facts if facts and not told else ""
    nothing = getattr(reply, "nothing", False)
    return Outcome(question, rank, told or (rank == 1 and not nothing), nothing, wrong, first, cpu_ms)


def tell(name: str, outcomes: Sequence[Outcome], verbose: bool) -> None:
    """Print the figures of some questions."""
    n = len(outcomes)
    cpu = sorted(one.cpu_ms for one in outcomes)
    wrong, nothing = sum(bool(one.wrong) for one in outcomes), sum(one.nothing for one in outcomes)
    reciprocal = sum(1 / one.rank for one in outcomes if one.rank) / n
    print(f"{name}, {n}: recall@5 {sum(one.rank > 0 for one in outcomes) / n:.2f}, answered by fact or first "
          f"passage {sum(one.answered for one in outcomes) / n:.2f}, stated wrongly {wrong}, said to be "
          f"nothing {nothing}, reciprocal rank {reciprocal:.2f}; "
          f"CPU p50 {cpu[n // 2]:.0f} ms, p95 {cpu[int(0.95 * n)]:.0f} ms")  # fmt: skip
    for one in outcomes if verbose else ():
        if not one.answered or one.wrong:
            stated = f"; stated: {one.wrong[:160]!r}" if one.wrong else ""
            print(f"      rank {one.rank}: {one.question}  [first: {one.first[:60]}{stated}]")


def at_size(passages: int) -> None:
    """Print what it costs to write and to ask so many passages of some 60 words."""
    rng = random.Random(0)
    names = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "se", "to", "va", "wi", "zu") for b in range(2000)]
    weights = [1 / (1 + at) for at in range(len(names))]

    def texts(n: int, long: int) -> list[str]:
        return [" ".join(rng.choices(names, weights, k=long)) for _ in range(n)]

    sample = texts(4000, 60)
    encoder = TextEncoder.fit(sample)
    quantiser = VectorQuantiser.fit(encoder.dense(sample))
    with tempfile.TemporaryDirectory() as folder, LiteServer(Path(folder) / "data") as server:
        collection = VectorCollection(server.client, "passages", COLUMNS)
        collection.create(encoder.dimensions)
        cpu = 0.0
        for at in range(0, passages, 1000):
            some = texts(1000, 60)

            def write(some: list[str] = some, at: int = at) -> None:
                vectors = encoder.dense(some)
                told = zip(some, vectors, quantiser.terms(vectors), strict=True)
                rows = [
                    TextRow(f"p{at + n}", text[:80], vector, {**encoder.sparse(text), **meaning},
                            {"kind": "record", "run": f"r{(at + n) % 500}", "seq": at + n, "time": at + n})
                    for n, (text, vector, meaning) in enumerate(told)
                ]  # fmt: skip
                collection.upsert(rows)

            cpu += seconds(write)[0]
        cpu += seconds(collection.flush)[0]
        print(f"{passages:,} passages written: {passages / cpu:,.0f} a CPU second")
        for name, condition in (("all", ""), ("of one run", is_one_of("run", ["r7"]))):
            compared(texts(41, 8), server, collection, (encoder, quantiser), name, condition, passages)


def compared(
    questions: Sequence[str],
    server: LiteServer,
    collection: VectorCollection,
    encoders: tuple[TextEncoder, VectorQuantiser],
    name: str,
    condition: str,
    passages: int,
) -> None:
    """Print what questions cost by Milvus's own hybrid search and by the memory's one search, in turns."""
    encoder, quantiser = encoders
    ways: dict[str, list[tuple[float, float]]] = {"hybrid search of Milvus": [], "one search": []}
    alike = 0.0
    for question in questions:
        found: list[list[str]] = [[], []]

        def exact(question: str = question, found: list[list[str]] = found) -> None:
            vectors = (encoder.dense([question])[0], encoder.sparse_question(question))
            found[0] = hybrid(server.client, vectors, condition)

        def once(question: str = question, found: list[list[str]] = found) -> None:
            dense, words = encoder.dense([question])[0], encoder.sparse_question(question)
            hits = collection.search(words, quantiser.question(dense, passages), dense, 40, condition)
            most = max((one.words for one in hits), default=0.0)
            found[1] = [hit.id for hit in blended(hits, most, 20)]

        for way, work in zip(ways, (exact, once), strict=True):
            ways[way].append(seconds(work))
        alike += len(set(found[0][:5]) & set(found[1][:5])) / max(1, len(found[0][:5]))
    for way, times in ways.items():
        cpu = sorted(1000 * one for one, _ in times[1:])
        wall = sorted(1000 * one for _, one in times[1:])
        print(f"  asked of {name}, {way}: CPU p50 {cpu[20]:.0f} ms, p95 {cpu[38]:.0f} ms; "
              f"wall p50 {wall[20]:.0f} ms, p95 {wall[38]:.0f} ms")  # fmt: skip
    print(f"    the first five of both are alike: {alike / len(questions):.2f}")


def hybrid(client: Any, vectors: tuple[Any, Any], condition: str) -> list[str]:
    """The ids that Milvus's own hybrid search gives: exact by both, a search of all rows for each."""
    from pymilvus import AnnSearchRequest, RRFRanker

    requests = [
        AnnSearchRequest([vector], field, {"metric_type": "IP"}, 40, expr=condition or None)
        for vector, field in zip(vectors, ("dense", "sparse"), strict=True)
    ]
    fields = ["text", "kind", "run", "endpoint", "seq", "time"]
    found = client.hybrid_search("passages", requests, RRFRanker(60), 20, output_fields=fields)
    return [str(one["id"]) for one in found[0]]


def similar(raw: Path) -> None:
    """Print how planted rows in other words are paired, by the offline embedder and by cosine."""
    rows = [row.text for row in clinc150.read_rows(raw, "train")][:4000]
    pairs = [line.split("\t") for line in (HERE / "paraphrases.tsv").read_text().splitlines() if "\t" in line]
    rng = random.Random(0)
    shuffled = [" ".join(rng.sample(text.split(), len(text.split()))) for text in rows[:60]]
    polite = [f"could you please tell me {text}" for text in rows[60:120]]
    texts = [*rows, *(one for pair in pairs for one in pair[:2]), *shuffled, *polite]
    n, m = len(rows), len(rows) + 2 * len(pairs)
    planted = {
        "in other words by a person": {(n + 2 * at, n + 2 * at + 1) for at in range(len(pairs))},
        "other order": {(at, m + at) for at in range(60)},
        "politely": {(60 + at, m + 60 + at) for at in range(60)},
    }
    with tempfile.TemporaryDirectory() as folder, SimilarTexts.of(texts, Path(folder) / "similar") as index:
        found = index.pairs(texts, 0.5)
    for least in (0.95, 0.9, 0.8, 0.7, 0.6, 0.5):
        above = {(one.first, one.second) for one in found if one.cosine >= least}
        recall = ", ".join(f"{name} {len(above & some) / len(some):.2f}" for name, some in planted.items())
        print(f"cosine {least}: {len(above):,} pairs; of those planted: {recall}")


def main() -> None:
    """Print the figures of the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, nargs="?", help="a workspace that `opswright demo` has filled")
    parser.add_argument("--passages", type=int, default=0, help="also this many made-up passages")
    parser.add_argument("--each", action="store_true", help="also each question that is not answered")
    parser.add_argument("--sets", nargs="+", default=SETS, help="files of questions beside this one")
    parser.add_argument("--only", default="", help="only questions whose set is named so: 'third a'")
    parser.add_argument("--rows", type=Path, help="also CLINC150's folder: rows that mean the same")
    asked = parser.parse_args()
    if asked.demo:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            shutil.copytree(
                asked.demo, home, ignore=shutil.ignore_patterns("memory", "mlflow*", "logs", "cache")
            )
            ask_all(Workspace(load_settings(home=home)), asked.sets, asked.only, asked.each)
    if asked.passages:
        at_size(asked.passages)
    if asked.rows:
        similar(asked.rows)


if __name__ == "__main__":
    main()
