"""Items a CPU second of evaluation: generation, choosing by likelihood, and answers from the cache.

A checkpoint answers a suite's items with one thread. The reference is the plain way to do each: `generate` of
transformers on left-padded batches in the order given, and a pass over prompt and continuation for each
choice. `--lm-eval PYTHON` names an interpreter that has lm-evaluation-harness: its model then answers the
same prompts with the same checkpoint, batch size and thread; without it that row says "not run". All take
turns, after one turn that is not counted; a row has the median of the turns, and beside it the median of each
turn's ratio to ours. Loading is not in it. Predictions must be the same, log-likelihoods within 1e-3.

Run: OMP_NUM_THREADS=1 python benchmarks/eval_throughput.py CHECKPOINT [--suite SUITE] [--lm-eval PYTHON]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
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


class Rates:
    """Items a CPU second by what was done, a figure for each turn."""

    def __init__(self) -> None:
        self.turns: dict[str, list[float]] = {}

    def timed(self, name: str, items: int, work: Callable[[], Any]) -> Any:
        """What some work gives; its rate is kept."""
        cpu = cpu_s()
        found = work()
        self.turns.setdefault(name, []).append(items / max(cpu_s() - cpu, 1e-9))
        return found

    def show(self) -> None:
        """Each row's median, and ours by it."""
        for name, rates in self.turns.items():
            ours = self.turns[f"{name.split(':')[0]}: ours"]
            ratio = median(mine / theirs for mine, theirs in zip(ours, rates, strict=True))
            print(f"{name:36} {median(rates):9,.0f} items/CPU-s   ours is {ratio:6.2f} times that")


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
import json, resource, sys
import torch
torch.set_num_threads(1)
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
asked = json.load(open(sys.argv[1]))
lm = HFLM(pretrained=asked["checkpoint"], dtype="float32", device="cpu", batch_size=asked["batch"])
def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def rate(call, name, pairs, items):
    requests = [Instance(name, {}, pair, number) for number, pair in enumerate(pairs)]
    cpu = cpu_s()
    found = call(requests, disable_tqdm=True)
    return {"rate": items / (cpu_s() - cpu), "found": found}
kwargs = {"until": ["</s>"], "max_gen_toks": asked["most"], "do_sample": False}
texts = [(prompt, kwargs) for prompt in asked["prompts"]]
pairs = [(p, " " + c) for p in asked["prompts"][: asked["choosing"]] for c in asked["choices"]]
answers = sys.stdout
sys.stdout = sys.stderr
for _ in sys.stdin:
    generate = rate(lm.generate_until, "generate_until", texts, len(texts))
    likelihood = rate(lm.loglikelihood, "loglikelihood", pairs, asked["choosing"])
    print(json.dumps({"generate": generate, "likelihood": likelihood}), file=answers, flush=True)
"""


class Harness:
    """lm-evaluation-harness in a process of its own, which answers the same prompts at each turn."""

    def __init__(self, python: str, asked: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(asked, file)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, "-c", LM_EVAL, file.name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._file = Path(file.name)

    def turn(self) -> dict[str, Any]:
        """One turn: rates and what was found, for `generate` and `likelihood`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        stdin.write("go\n")
        stdin.flush()
        found: dict[str, Any] = json.loads(stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._file.unlink()


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
    parser.add_argument("--rows", type=int, default=BATCH, help="Prompts in one pass, for all.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--lm-eval", metavar="PYTHON")
    asked = parser.parse_args()
    suite = load_suite(asked.suite)
    chats = [suite.prompt.chat(item) for item in choose_items(suite, asked.items)]
    engine = CheckpointEngine(asked.checkpoint, "cpu", threads=1, most_rows=asked.rows)
    task = Task(
        engine, chats, chats[: asked.choosing], list(suite.labels[: asked.choices]), suite.longest_answer
    )
    harness = None
    if asked.lm_eval is None:
        print("lm-evaluation-harness: not run (name an interpreter that has it by --lm-eval)")
    else:
        harness = Harness(asked.lm_eval, task.asked(str(asked.checkpoint), asked.rows))
    turn(task, harness, Rates())
    rates = Rates()
    for _ in range(asked.turns):
        turn(task, harness, rates)
    if harness is not None:
        harness.close()
    rates.show()


@dataclass
class Task:
    """What everybody answers: chats, those that are also chosen for, the choices, and new tokens at most."""

    engine: CheckpointEngine
    chats: Sequence[Chat]
    few: Sequence[Chat]
    choices: list[str]
    most: int

    @cached_property
    def prompts(self) -> list[str]:
        """The chats as the template renders them."""
        return prompts_of(self.engine, self.chats)

    def asked(self, checkpoint: str, rows: int) -> dict[str, Any]:
        """The same for another process."""
        return {
            "checkpoint": checkpoint,
            "batch": rows,
            "most": self.most,
            "prompts": self.prompts,
            "choices": self.choices,
            "choosing": len(self.few),
        }


def turn(task: Task, harness: Harness | None, rates: Rates) -> None:
    """Everybody once."""
    options = GenerationOptions(max_tokens=task.most)
    engine, items, few = task.engine, len(task.chats), len(task.few)
    prompts = task.prompts
    made: list[GenerationResult] = rates.timed(
        "generate: ours", items, lambda: engine.generate(task.chats, options)
    )
    scored: list[list[Continuation]] = rates.timed(
        "likelihood: ours", few, lambda: engine.loglikelihood(task.few, [task.choices] * few, " ")
    )
    plain = rates.timed("generate: padded batches", items, lambda: plain_generate(engine, prompts, task.most))
    whole = rates.timed(
        "likelihood: whole sequences", few, lambda: plain_likelihoods(engine, prompts[:few], task.choices)
    )
    compare("padded batches", made, plain, scored, whole)
    with tempfile.TemporaryDirectory() as folder:
        cached = CachedEngine(lambda: engine, {"benchmark": 1}, AnswerCache(Path(folder) / "a.sqlite"), 1024)
        kept = rates.timed(
            "generate: ours, answers kept", items, lambda: cached.generate(task.chats, options)
        )
        again = rates.timed("generate: from the cache", items, lambda: cached.generate(task.chats, options))
    if [one.text for one in kept] != [one.text for one in made] or again != kept:
        sys.exit("the cache gave other answers")
    if harness is None:
        return
    theirs = harness.turn()
    for name, one in theirs.items():
        rates.turns.setdefault(f"{name}: lm-evaluation-harness", []).append(one["rate"])
    flat = [float(pair[0]) for pair in theirs["likelihood"]["found"]]
    grouped = [flat[i : i + len(task.choices)] for i in range(0, len(flat), len(task.choices))]
    compare("lm-evaluation-harness", made, theirs["generate"]["found"], scored, grouped)


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
    said = f"against {name}: {differ} of {len(made)} answers differ, log-likelihoods by at most {most:.1e}"
    print(said, file=sys.stderr)
    if differ or most > TOLERANCE:
        sys.exit(said)


if __name__ == "__main__":
    main()
