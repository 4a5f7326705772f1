"""What each speed-up of the fine-tuning recipe is worth: milliseconds a step, against AutoModel's plain path.

Trains the tiny model on CLINC150 for a few steps with the plain recipe, then with one speed-up more at a
time. Each run is a process of its own, in the environment of the real worker, and the order changes every
round. On a shared machine look at the CPU column and the ratios: wall times move with the neighbours.

About 6 minutes on 2 cores: `python benchmarks/finetune.py [--steps 60] [--rounds 2] [--threads 2]`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import opswright
from opswright.core.artifact_refs import DatasetRef
from opswright.skills.finetune import FinetuneRequest
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.launch import environment
from opswright.skills.finetune.recipe import DataFacts, compile_recipe

RAW = Path(opswright.__file__).parent / "examples" / "support_router" / "raw" / "clinc150" / "data_full.json"
PLAIN_LOSS = "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"
PLAIN_ROWS = "nemo_automodel.components.datasets.llm.chat_dataset.ChatDataset"
VARIANTS = ("plain", "rows tokenised once", "loss at labels only", "batches of one length (the recipe)")


def recipe_of(variant: str, rows: int, steps: int) -> dict[str, Any]:
    """The recipe with the speed-ups up to a variant."""
    level = VARIANTS.index(variant)
    ask = FinetuneRequest(data=DatasetRef.of("0" * 63 + "1"), max_steps=steps)
    values = compile_recipe(ask, DataFacts(rows, 0), BaseFacts()).values
    values["checkpoint"]["enabled"] = False
    if level < 3:
        values["dataloader"]["group_by_length"] = False
        values["dataloader"]["shuffle"] = True
    if level < 2:
        values["loss_fn"] = {"_target_": PLAIN_LOSS}
    if level < 1:
        values["dataset"] = {"_target_": PLAIN_ROWS, "path_or_dataset_id": "data/train.jsonl"}
    return values


def run_variant(folder: Path, steps: int) -> None:
    """One training in this process: prints its wall and CPU time a step, and its last loss."""
    from opswright.skills.finetune import cpu_shim

    cpu_shim.install()
    from nemo_automodel.components.config.loader import load_yaml_config
    from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction

    os.chdir(folder)
    started = time.process_time()
    recipe = TrainFinetuneRecipeForNextTokenPrediction(load_yaml_config("recipe.yaml"))
    recipe.setup()
    ready_wall, ready_cpu = time.perf_counter(), time.process_time()
    recipe.run_train_validation_loop()
    wall, cpu = time.perf_counter() - ready_wall, time.process_time() - ready_cpu
    lines = (folder / "checkpoints" / "training.jsonl").read_text().splitlines()
    (folder / "checkpoints" / "training.jsonl").unlink()
    found = {
        "wall_ms": 1000 * wall / steps,
        "cpu_ms": 1000 * cpu / steps,
        "setup_cpu_s": ready_cpu - started,
        "loss": json.loads(lines[-1])["loss"],
    }
    print("\n" + json.dumps(found))


def lay_out(folder: Path) -> int:
    """Data and the tiny base in a folder; the number of rows."""
    from opswright.skills.finetune.tiny import make_tiny_base

    rows = json.loads(RAW.read_text())["train"]
    random.Random(1).shuffle(rows)
    (folder / "data").mkdir()
    with (folder / "data" / "train.jsonl").open("w") as file:
        for text, label in rows[:12_000]:
            messages = [
                {"role": "user", "content": text},
                {"role": "assistant", "content": label},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    make_tiny_base(folder / "data" / "train.jsonl", folder / "base")
    return 12_000


def measure(folder: Path, variant: str, rows: int, steps: int, threads: int) -> dict[str, float]:
    """One run of a variant in a process of its own."""
    import yaml

    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(variant, rows, steps)))
    command = [sys.executable, __file__, "--run", str(folder), "--steps", str(steps)]
    done = subprocess.run(
        command, env={**os.environ, **environment(threads, "cpu")}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    ask = parser.parse_args()
    if ask.run:
        run_variant(ask.run, ask.steps)
        return
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = lay_out(folder)
        for number in range(ask.rounds):
            order = VARIANTS[number % 4 :] + VARIANTS[: number % 4]
            for variant in order:
                found[variant].append(measure(folder, variant, rows, ask.steps, ask.threads))
                print(f"round {number + 1}: {variant}: {found[variant][-1]}", file=sys.stderr)

    def median(variant: str, figure: str) -> float:
        return statistics.median(run[figure] for run in found[variant])

    print(f"{ask.steps} steps of 64 rows, {ask.threads} threads, medians of {ask.rounds} rounds")
    print(f"{'':36} {'ms/step':>8} {'ratio':>6} {'CPU ms':>8} {'ratio':>6} {'setup s':>8} {'loss':>6}")
    for variant in VARIANTS:
        wall, cpu = median(variant, "wall_ms"), median(variant, "cpu_ms")
        print(
            f"{variant:36} {wall:8.1f} {wall / median('plain', 'wall_ms'):6.2f} {cpu:8.1f} "
            f"{cpu / median('plain', 'cpu_ms'):6.2f} {median(variant, 'setup_cpu_s'):8.1f} "
            f"{median(variant, 'loss'):6.3f}"
        )


if __name__ == "__main__":
    main()
