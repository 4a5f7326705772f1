"""Items a second, and a CPU second, of evaluation: generation, choosing by likelihood, and from the cache.

A checkpoint answers a suite's items with one thread. The reference is the plain way to do each: `generate` of
transformers on left-padded batches in the order given, and a pass over prompt and continuation for each
choice. `--lm-eval PYTHON` names an interpreter that has lm-evaluation-harness: its model then answers the
same prompts with the same checkpoint, batch size and thread; without it that row says "not run". Predictions
must be the same, log-likelihoods within 1e-3.

Run: python benchmarks/eval_throughput.py CHECKPOINT [--suite SUITE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opswright.engines.base import Chat, Continuation, GenerationOptions, GenerationResult
from opswright.engines.checkpoint import CheckpointEngine
from opswright.evals.answer_cache import AnswerCache, CachedEngine
from opswright.evals.runner import choose_items
from opswright.evals.suites import load_suite

BATCH = 64
TOLERANCE = 1e-3


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(name: str, items: int, work: Callable[[], Any]) -> Any:
    """What some work gives; its rates are printed."""
    started, cpu = time.perf_counter(), cpu_s()
    found = work()
    wall, used = time.perf_counter() - started, cpu_s() - cpu
    print(f"{name:34} {items / wall:9,.0f} items/s {items / max(used, 1e-9):9,.0f} items/CPU-s")
    return found


def prompts_of(engine: CheckpointEngine, chats: Sequence[Chat]) -> list[str]:
    """The chats as the template renders them."""
    return [
        str(
            engine.tokenizer.apply_chat_template(
                [dict(m) for m in chat], add_generation_prompt=True, tokenize=False
            )
        )
        for chat in chats
    ]


def plain_generate(engine: CheckpointEngine, prompts: Sequence[str], most: int) -> list[str]:
    """Greedy texts by left-padded batches in the order given."""
    import torch

    tokenizer = engine.tokenizer
    tokenizer.padding_side = "left"
    texts: list[str] = []
    for start in range(0, len(prompts), BATCH):
        some = tokenizer(
            list(prompts[start : start + BATCH]), padding=True, add_special_tokens=False, return_tensors="pt"
        )
        with torch.inference_mode():
            made = engine.model.generate(
                some["input_ids"],
                attention_mask=some["attention_mask"],
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts += tokenizer.batch_decode(made[:, some["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def plain_likelihoods(
    engine: CheckpointEngine, prompts: Sequence[str], choices: Sequence[str]
) -> list[list[float]]:
    """Log-likelihoods by reading prompt and continuation for each choice, right-padded, all logits."""
    import torch

    rows = [(prompt, f" {choice}") for prompt in prompts for choice in choices]
    found: list[float] = []
    for start in range(0, len(rows), BATCH):
        contexts, wholes = (
            engine.tokenizer(texts, add_special_tokens=False)["input_ids"]
            for texts in zip(*((p, p + c) for p, c in rows[start : start + BATCH]), strict=True)
        )
        longest = max(map(len, wholes))
        padded = torch.tensor([one + [one[-1]] * (longest - len(one)) for one in wholes])
        with torch.inference_mode():
            logprobs = engine.model(padded, use_cache=False).logits.float().log_softmax(-1)
        for row, (context, whole) in enumerate(zip(contexts, wholes, strict=True)):
            found.append(
                float(sum(logprobs[row, at - 1, whole[at]] for at in range(len(context), len(whole))))
            )
    return [found[i : i + len(choices)] for i in range(0, len(found), len(choices))]


LM_EVAL = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
asked = json.load(open(sys.argv[1]))
lm = HFLM(pretrained=asked["checkpoint"], dtype="float32", device="cpu", batch_size=asked["batch"])
def rate(name, requests, call, items):
    used, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    cpu = used.ru_utime + used.ru_stime
    found = call(requests, disable_tqdm=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, wall = used.ru_utime + used.ru_stime - cpu, time.perf_counter() - wall
    return {"name": name, "wall": items / wall, "cpu": items / cpu, "found": found}
kwargs = {"until": ["</s>"], "max_gen_toks": asked["most"], "do_sample": False}
ask = [Instance("generate_until", {}, (p, kwargs), i) for i, p in enumerate(asked["prompts"])]
made = rate("generate", ask, lm.generate_until, len(ask))
pairs = [(p, " " + c) for p in asked["prompts"][: asked["choosing"]] for c in asked["choices"]]
ask = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
scored = rate("likelihood", ask, lm.loglikelihood, asked["choosing"])
json.dump([made, scored], open(sys.argv[2], "w"))
"""


def lm_eval(python: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """lm-evaluation-harness on the same prompts, in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "asked.json").write_text(json.dumps(asked))
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [python, "-c", LM_EVAL, f"{folder}/asked.json", f"{folder}/found.json"]
        subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
        found: list[dict[str, Any]] = json.loads((Path(folder) / "found.json").read_text())
        return found


def main() -> None:
    """Measure and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--suite", default="clinc150")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--choosing", type=int, default=200, help="Items that are chosen by likelihood.")
    parser.add_argument("--choices", type=int, default=10)
    parser.add_argument("--lm-eval", metavar="PYTHON")
    asked = parser.parse_args()
    suite = load_suite(asked.suite)
    items = choose_items(suite, asked.items)
    chats = [suite.prompt.chat(item) for item in items]
    choices = list(suite.labels[: asked.choices])
    engine = CheckpointEngine(asked.checkpoint, "cpu", threads=1)
    prompts = prompts_of(engine, chats)
    options = GenerationOptions(max_tokens=suite.longest_answer)
    engine.generate(chats[:BATCH], options)  # the first pass of a process is slower

    made: list[GenerationResult] = timed(
        "generate: ours", len(items), lambda: engine.generate(chats, options)
    )
    plain = timed(
        "generate: padded batches", len(items), lambda: plain_generate(engine, prompts, suite.longest_answer)
    )
    few = chats[: asked.choosing]
    scored: list[list[Continuation]] = timed(
        "likelihood: ours", len(few), lambda: engine.loglikelihood(few, [choices] * len(few), " ")
    )
    whole = timed(
        "likelihood: whole sequences",
        len(few),
        lambda: plain_likelihoods(engine, prompts[: len(few)], choices),
    )
    compare("padded batches", made, plain, scored, whole)
    with tempfile.TemporaryDirectory() as folder:
        cached = CachedEngine(lambda: engine, {"benchmark": 1}, AnswerCache(Path(folder) / "a.sqlite"), 1024)
        cached.generate(chats, options)
        timed("generate: from the cache", len(items), lambda: cached.generate(chats, options))
    if asked.lm_eval is None:
        print("lm-evaluation-harness: not run (name an interpreter that has it by --lm-eval)")
        return
    body = {
        "checkpoint": str(asked.checkpoint),
        "batch": BATCH,
        "most": suite.longest_answer,
        "prompts": prompts,
    }
    theirs = lm_eval(asked.lm_eval, body | {"choices": choices, "choosing": len(few)})
    for one in theirs:
        label = f"{one['name']}: lm-evaluation-harness"
        print(f"{label:34} {one['wall']:9,.0f} items/s {one['cpu']:9,.0f} items/CPU-s")
    flat = [float(pair[0]) for pair in theirs[1]["found"]]
    grouped = [flat[i : i + len(choices)] for i in range(0, len(flat), len(choices))]
    compare("lm-evaluation-harness", made, theirs[0]["found"], scored, grouped)


def compare(
    name: str,
    made: Sequence[GenerationResult],
    texts: Sequence[str],
    scored: Sequence[Sequence[Continuation]],
    likelihoods: Sequence[Sequence[float]],
) -> None:
    """Say how many answers differ, and by how much likelihoods do; exit 1 when they do."""
    differ = sum(str(one.text).strip() != other.strip() for one, other in zip(made, texts, strict=True))
    most = max(
        abs(one.logprob - other)
        for some, others in zip(scored, likelihoods, strict=True)
        for one, other in zip(some, others, strict=True)
    )
    print(f"against {name}: {differ} of {len(made)} answers differ, log-likelihoods by at most {most:.1e}")
    if differ or most > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
