"""The engine worker: `python -m opswright.engines.builders.onnx_worker build.json`, a process of its own.

It works in that file's folder, which holds `checkpoint/`, and leaves `engine/` and `report.json` there.

Exports and quantises a checkpoint, then answers the parity texts with the checkpoint (transformers) and with
the engine. One process does both, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...data.batches import by_length
from .onnx import OnnxEngine

_TOOLS = ("onnxruntime-genai", "onnxruntime", "onnx", "onnx-ir", "torch", "transformers")
_CHECKPOINT_BATCH = 128


def main(job_file: Path) -> None:
    """Do a job and write its report. Started a second time, as after a requeue, it begins anew."""
    job: dict[str, Any] = json.loads(job_file.read_text(encoding="utf-8"))
    os.chdir(job_file.resolve().parent)
    checkpoint, out, report_file = Path("checkpoint"), Path("engine"), Path("report.json")
    report_file.unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    _export(checkpoint, out, job["precision"], Path("cache"))
    expected = checkpoint_answers(checkpoint, job["texts"], job["max_new_tokens"])
    engine = OnnxEngine(out, job["threads"])
    prompts = [engine.render([{"role": "user", "content": text}]) for text in job["texts"]]
    got = engine.generate(prompts, job["max_new_tokens"])
    report = {
        "tools": {name: version(name) for name in _TOOLS},
        "cases": [
            {"text": text, "checkpoint": a, "engine": b}
            for text, a, b in zip(job["texts"], expected, got, strict=True)
        ],
    }
    report_file.write_text(json.dumps(report), encoding="utf-8")


def _export(checkpoint: Path, out: Path, precision: str, cache: Path) -> None:
    arguments = ["-i", str(checkpoint), "-o", str(out), "-p", precision, "-e", "cpu", "-c", str(cache)]
    before, sys.argv = sys.argv, ["builder", *arguments]
    try:
        runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")
    finally:
        sys.argv = before


def checkpoint_answers(folder: Path, texts: Sequence[str], max_new_tokens: int) -> list[str]:
    """A checkpoint's own greedy answer to each user message, stripped, in order."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    model.eval()
    tokens = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for text in texts
    ]
    answers = [""] * len(texts)
    for numbers in by_length(tokens, _CHECKPOINT_BATCH):
        batch = torch.tensor([tokens[number] for number in numbers])  # (rows, tokens)
        with torch.inference_mode():
            made = model.generate(
                batch,
                attention_mask=torch.ones_like(batch),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            )
        decoded = tokenizer.batch_decode(made[:, batch.shape[1] :], skip_special_tokens=True)
        for number, text in zip(numbers, decoded, strict=True):
            answers[number] = text.strip()
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
