"""What curating costs: some minutes on 2 cores.

Near-duplicates: short rows and documents with planted exact and near pairs, curated by the whole skill and
deduplicated alone, beside Daft where that is installed (same reading, 25 bands of 5 hashes, pairs verified,
rows written; no split, no artifact, no record). Each in a process of its own: rows a CPU second, peak memory.

    python benchmarks/curate.py [--repeats 3] [--rows 100000] [--python PATH]   a Python that has Daft
    python benchmarks/curate.py --large 10000000   the whole skill alone on a tenth of so many short rows and
        on all: CPU seconds and memory (proportional set size, mapped files too), sampled
    python benchmarks/curate.py --ray PATH [--rows 100000]   the whole skill here and on a Ray cluster of this
        machine: CPU seconds and memory of all processes, sampled; PATH: a Python with requirements-ray.txt
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JACCARD = 0.8


def write_rows(path: Path, n: int, words: int, seed: int = 1) -> int:
    """A file of labelled rows of made-up words, 5 % near-duplicates and 5 % exact ones; the near pairs."""
    draw = random.Random(seed)

    def word() -> str:
        pair = (draw.choice("bcdfghjklmnprstvwz") + draw.choice("aeiou") for _ in range(draw.randint(1, 3)))
        return "".join(pair)

    known = [word() for _ in range(3000)]
    near = n // 20
    rows = [(" ".join(draw.choices(known, k=words)), f"label{i % 20}") for i in range(n - 2 * near)]
    for text, label in rows[:near]:
        changed = text.split()
        for _ in range(max(1, words // 40)):
            changed[draw.randrange(words)] += "a"
        rows.append((" ".join(changed), label))
    rows += rows[near : 2 * near]
    draw.shuffle(rows)
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return near


def run_skill(path: Path, **ray: str) -> int:
    """Rows that the whole skill leaves out; ray: the settings of a cluster, if it is to run there."""
    from opswright.core.contract import StepContext
    from opswright.core.settings import load_settings
    from opswright.core.workspace import Workspace
    from opswright.skills.curate import CurateRequest, curate

    with tempfile.TemporaryDirectory() as home:
        compute = {"curate": "ray" if ray else "local", "ray": ray}
        workspace = Workspace(load_settings(home=Path(home), actor="benchmark", compute=compute))
        ctx = StepContext(
            workspace=workspace, run_id="run", step_id="data", idempotency_key="key", workdir=Path(home)
        )
        return sum(curate(CurateRequest(source=path, near_duplicate_jaccard=JACCARD), ctx).dropped.values())


def run_dedup(path: Path) -> int:
    """Rows that reading, exact and near deduplication alone leave out."""
    import numpy as np

    from opswright.data.read import Source, read_samples
    from opswright.data.similar import similar_pairs
    from opswright.data.text import fingerprint

    rows = [(sample.question, sample.answer) for sample in read_samples(Source(path))]
    first: dict[str, int] = {}
    for at, (text, _) in enumerate(rows):
        first.setdefault(fingerprint(text), at)
    kept, labels = list(first.values()), [label for _, label in rows]
    pairs = similar_pairs(list(first), JACCARD)
    gone = np.zeros(len(kept), bool)
    for i, j, _ in pairs.each():
        if not gone[i] and labels[kept[i]] == labels[kept[j]]:
            gone[j] = True
    with tempfile.TemporaryFile("w") as file:
        for at, is_gone in zip(kept, gone.tolist(), strict=True):
            if not is_gone:
                file.write(json.dumps({"text": rows[at][0], "label": rows[at][1]}) + "\n")
    return len(rows) - len(kept) + int(gone.sum())


DAFT = """
import json, os, sys, tempfile
os.environ["DO_NOT_TRACK"] = "1"
import daft, numpy as np
from daft import col
letters = col("text").regexp_replace(" ", "_").regexp_replace("(.)", "$1 ")
frame = daft.read_json(sys.argv[1]).with_column("sig", letters.minhash(num_hashes=125, ngram_size=5, seed=1))
rows = frame.collect().to_pydict()
text, label, sig = rows["text"], rows["label"], np.array(rows["sig"], np.uint64)
pairs = set()
for band in range(25):
    key = np.zeros(len(text), np.uint64)
    for column in range(band * 5, band * 5 + 5):
        key = key * np.uint64(0x9E3779B97F4A7C15) + sig[:, column]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] + np.uint64(1)))
    for start, end in zip(starts, np.append(starts[1:], len(text))):
        if end - start > 1:
            run = order[start : min(end, start + 200)].tolist()
            pairs |= {(a, b) for at, a in enumerate(run) for b in run[at + 1 :]}
shingles = lambda one: {one[i : i + 5] for i in range(max(1, len(one) - 4))}
gone = set()
for a, b in sorted(pairs):
    if a not in gone and b not in gone and label[a] == label[b]:
        one, other = shingles(text[a]), shingles(text[b])
        if len(one & other) >= 0.8 * len(one | other):
            gone.add(b)
with tempfile.TemporaryFile("w") as file:
    for at in range(len(text)):
        if at not in gone:
            file.write(json.dumps({"text": text[at], "label": label[at]}) + "\\n")
print(len(gone))
"""
OURS = {"opswright curate": run_skill, "opswright, deduplication alone": run_dedup}


def measured(command: list[str]) -> tuple[float, float, int]:
    """CPU seconds and peak memory in MB of a command with all its children, and the rows it left out."""
    program = (
        "import resource, subprocess, sys; out = subprocess.run(sys.argv[1:], check=True, stdout=-1).stdout; "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024, out.split()[-1].decode())"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, *command], check=True, capture_output=True, text=True
    )
    cpu_s, memory_mb, left_out = said.stdout.split()
    return float(cpu_s), float(memory_mb), int(left_out)


def sampled(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, int]:
    """CPU seconds and peak memory in MB (proportional set size) of all processes that a command starts.

    And the number that it prints last. environment: what it has besides this process's.
    """
    import psutil

    mark = f"benchmark-{os.getpid()}-{time.monotonic()}"
    variables = {**os.environ, **(environment or {}), "OPSWRIGHT_BENCHMARK": mark}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    cpu_s: dict[int, float] = {}
    ours: dict[int, bool] = {}
    peak = 0
    while process.poll() is None:
        held = 0
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if one.pid not in ours:
                    ours[one.pid] = one.environ().get("OPSWRIGHT_BENCHMARK") == mark
                if ours[one.pid]:
                    times = one.cpu_times()
                    cpu_s[one.pid], held = times.user + times.system, held + one.memory_full_info().pss
        peak = max(peak, held)
        time.sleep(0.5)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return sum(cpu_s.values()), peak / 1e6, int(said.split()[-1])


def alone(path: Path, n: int, near: int) -> None:
    """Print what the whole skill costs on `n` rows, of which twice `near` are copies."""
    cpu_s, memory_mb, left_out = sampled([sys.executable, __file__, "--one", "opswright curate", str(path)])
    print(
        f"  {n:,} short rows: {cpu_s:.0f} CPU s ({1e6 * cpu_s / n:.1f} us a row), {memory_mb:,.0f} MB, "
        f"{left_out / (2 * near):.4f} of the copies found",
        flush=True,
    )


def at_two_sizes(n: int) -> None:
    """Print what the whole skill costs on a tenth of `n` rows and on all."""
    for size in (n // 10, n):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            alone(path, size, write_rows(path, size, 12))


def beside_ray(n: int, python: str) -> None:
    """Print what the whole skill costs here and on a cluster of this machine, for few rows and for many."""
    for title, words, sizes in (("short rows", 12, (n // 10, n)), ("documents", 310, (n // 200, n // 20))):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "rows.jsonl"
                write_rows(path, size, words)
                for name, more in (("local", []), ("ray", [python])):
                    cpu_s, memory_mb, _ = sampled(
                        [sys.executable, __file__, "--one", "opswright curate", str(path), *more]
                    )
                    print(f"  {size:,} {title}, {name}: {cpu_s:.1f} CPU s, {memory_mb:,.0f} MB", flush=True)


def compare(title: str, n: int, words: int, repeats: int, other: str) -> None:
    """Print the table of one kind of rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        near = write_rows(path, n, words)
        size = path.stat().st_size / n
        print(f"{title}: {n:,} rows of {size:,.0f} bytes, {near} near and {near} exact copies")
        print(f"  {'':32} {'CPU s':>7} {'rows/CPU s':>10} {'MB':>6} {'copies found':>12}")
        commands = {name: [sys.executable, __file__, "--one", name, str(path)] for name in OURS}
        if (
            subprocess.run([other, "-c", "import daft, numpy"], capture_output=True, check=False).returncode
            == 0
        ):
            commands["Daft, deduplication alone"] = [other, "-c", DAFT, str(path)]
        else:
            print("  Daft: not run, it is not installed")
        for name, command in commands.items():
            runs = [measured(command) for _ in range(repeats)]
            cpu_s, memory_mb = (statistics.median(run[at] for run in runs) for at in (0, 1))
            share = f"{runs[0][2] / (2 * near):.4f}"
            print(f"  {name:32} {cpu_s:7.2f} {n / cpu_s:10,.0f} {memory_mb:6.0f} {share:>12}", flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--python", default=sys.executable, help="a Python with Daft and numpy")
    parser.add_argument("--large", type=int, metavar="ROWS")
    parser.add_argument("--ray", metavar="PYTHON", help="a Python with requirements-ray.txt")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, path, *python = asked.one
        print(run_skill(Path(path), python=python[0]) if python else OURS[name](Path(path)))
        return
    if asked.large:
        at_two_sizes(asked.large)
        return
    if asked.ray:
        beside_ray(asked.rows, asked.ray)
        return
    compare("short rows", asked.rows, 12, asked.repeats, asked.python)
    compare("documents", asked.rows // 20, 310, asked.repeats, asked.python)


if __name__ == "__main__":
    main()
