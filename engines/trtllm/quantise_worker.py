"""The quantiser: `python quantise_worker.py asked.json found.json`, by a Python that has ModelOpt.

It stands alone: ModelOpt's environment has nothing of Opswright. Quantises a Hugging Face folder, lets the
model answer with weights **and** activations as they will be on a GPU, exports it, and says what it did.

Its transformers is of the major version that TensorRT-LLM has, so what that cannot read, or reads otherwise
than ours, shows here.

asked: checkpoint and out (folders), preset and cache_preset (names in modelopt.torch.quantization; null
leaves weights or cache), calibration and prompts (lists of token ids), chats (the prompts as messages),
max_new_tokens, ends (token ids that end an answer), pad (the token that fills up), threads, most_rows.
found: answers (token ids, one list for each prompt), retold (numbers of prompts that its tokenizer turns into
other tokens), versions, seconds of each part.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TOOLS = ("nvidia-modelopt", "torch", "transformers")


def main(asked_file: Path, found_file: Path) -> None:
    """Do what a file asks, and write what was found."""
    asked: Mapping[str, Any] = json.loads(asked_file.read_text(encoding="ascii"))
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(asked["threads"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(
        asked["checkpoint"], local_files_only=True, use_safetensors=True, dtype="auto"
    )
    if model.dtype not in (torch.float16, torch.bfloat16):  # TensorRT-LLM computes in 16 bits
        model = model.to(torch.bfloat16)
    model = model.to(device).eval()
    retold = other_tokens(Path(asked["checkpoint"]), asked["chats"], asked["prompts"])
    seconds = {}

    def calibrate(model: Any) -> None:
        with torch.inference_mode():
            for rows in batches(asked["calibration"], asked["most_rows"]):
                chosen = torch.tensor([asked["calibration"][row] for row in rows], device=device)
                model(input_ids=chosen, attention_mask=torch.ones_like(chosen))

    started = time.perf_counter()
    config = configuration(mtq, asked["preset"], asked["cache_preset"])
    model = mtq.quantize(model, config, forward_loop=calibrate if asked["calibration"] else None)
    seconds["quantise"] = time.perf_counter() - started

    started = time.perf_counter()
    answers = answered(model, asked, generate(model, asked, device))
    seconds["answers"] = time.perf_counter() - started

    started = time.perf_counter()
    with torch.inference_mode():
        export_hf_checkpoint(model, export_dir=asked["out"])
    seconds["export"] = time.perf_counter() - started
    found = {
        "answers": answers,
        "retold": retold,
        "versions": {name: version(name) for name in _TOOLS},
        "seconds": seconds,
    }
    found_file.write_text(json.dumps(found), encoding="ascii")


def other_tokens(folder: Path, chats: Sequence[Any], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the chats that the folder's tokenizer and template turn into other tokens here."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats
    ]
    found = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return [number for number, row in enumerate(found) if row != prompts[number]]


def configuration(presets: Any, preset: str, cache_preset: str | None) -> Any:
    """The configuration of a preset, with that of a KV cache added to it."""
    chosen = copy.deepcopy(getattr(presets, preset))
    if cache_preset is None:
        return chosen
    from modelopt.torch.quantization.utils import update_quant_cfg_with_kv_cache_quant

    return update_quant_cfg_with_kv_cache_quant(chosen, getattr(presets, cache_preset)["quant_cfg"])


def answered(
    model: Any, asked: Mapping[str, Any], answer: Callable[[list[list[int]]], list[list[int]]]
) -> list[list[int]]:
    """What the model says to each prompt, in their order."""
    answers: list[list[int]] = [[]] * len(asked["prompts"])
    for rows in batches(asked["prompts"], asked["most_rows"]):
        for row, tokens in zip(rows, answer([asked["prompts"][row] for row in rows]), strict=True):
            answers[row] = tokens
    return answers


def generate(
    model: Any, asked: Mapping[str, Any], device: str
) -> Callable[[list[list[int]]], list[list[int]]]:
    """Greedy answers to prompts of one length."""
    import torch

    def answer(prompts: list[list[int]]) -> list[list[int]]:
        inputs = torch.tensor(prompts, device=device)
        with torch.inference_mode():
            made = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=asked["max_new_tokens"],
                eos_token_id=asked["ends"],
                pad_token_id=asked["pad"],
            )
        tokens: list[list[int]] = made[:, inputs.shape[1] :].tolist()
        return tokens

    return answer


def batches(rows: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Numbers of rows of one length, so many at a time: nothing is padded, so no row sees a neighbour."""
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    for numbers in by_length.values():
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
