"""What generating costs: 200 short prompts by checkpoint and bundle, then one by one in the server here.

    python benchmarks/engines.py MODEL ENGINE

MODEL is a checkpoint folder and ENGINE the `engine` folder of a bundle made of it; without them a tiny random
model is made first. Wall times on one thread, best of five after the first; takes a minute on 2 cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from opswright.engines import Engine, GenerationOptions, user_chat
from opswright.engines.checkpoint import CheckpointEngine
from opswright.engines.onnx import OnnxEngine
from opswright.serving.in_process import InProcessServer
from opswright.serving.server import Generation, ServedModel

TINY = Path(__file__).resolve().parents[1] / "tests" / "e2e" / "tiny_engines.py"
WORDS = "transfer money to my savings account please what is the weather today card lost stolen pin"
TEXTS = [" ".join(WORDS.split()[n % 13 : n % 13 + 1 + n * 7 % 11]) for n in range(200)]


def seconds(work: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """The first time, and the best of some more."""
    taken = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken[0], min(taken[1:])


def evaluation(engine: Engine) -> tuple[float, float]:
    """Seconds for all texts, 24 new tokens each at most."""
    chats, options = [user_chat(text) for text in TEXTS], GenerationOptions(max_tokens=24)
    return seconds(lambda: engine.generate(chats, options))


async def served(engine: Path) -> tuple[float, float]:
    """Median ms of an answer of 3 tokens asked alone, and seconds for 200 of 24 tokens asked at once."""
    server = InProcessServer(lambda model: 1)
    await server.load(ServedModel("m-v1", 1, engine, "v1", "onnx-int8"))
    asked = [json.dumps([{"role": "user", "content": text}]) for text in TEXTS]
    waited = []
    for messages in asked * 3:
        started = time.perf_counter()
        await server.infer("m-v1", Generation(messages, max_tokens=3))
        waited.append((time.perf_counter() - started) * 1000)
    started = time.perf_counter()
    await asyncio.gather(*(server.infer("m-v1", Generation(messages, max_tokens=24)) for messages in asked))
    together = time.perf_counter() - started
    await server.stop()
    return statistics.median(waited[50:]), together


def make_tiny(folder: Path) -> tuple[Path, Path]:
    """A tiny random checkpoint and its engine in int8."""
    print("  making a tiny engine", file=sys.stderr)
    command = [sys.executable, str(TINY), str(folder), "int8", "1"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder / "1" / "model", folder / "1" / "engine"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        given = [Path(argument) for argument in sys.argv[1:]]
        model, engine = (given[0], given[1]) if given else make_tiny(Path(folder))
        for name, one in (("checkpoint", CheckpointEngine(model, "cpu", 1)), ("bundle", OnnxEngine(engine))):
            first, again = evaluation(one)
            print(f"{name}: 200 prompts in {first:.2f} s the first time, {again:.2f} s after")
        alone_ms, together_s = asyncio.run(served(engine))
        print(f"in-process: {alone_ms:.2f} ms p50 for 3 tokens, 200 at once in {together_s:.2f} s")


if __name__ == "__main__":
    main()
