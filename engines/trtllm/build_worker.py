"""The build's worker: `python -m opswright.engines.trtllm.build_worker build.json`, a process of its own.

It works in that file's folder, which holds `checkpoint/`, and `quantised/` where an earlier build made the
same; it leaves `engine/`, `report.json` and, what was quantised now, `fresh/` there.

What it checks on this machine, of which TensorRT-LLM itself is no part: every quantised matrix has its
scales; the model answers with weights and activations quantised, as the GPU will have them, as the
checkpoint does (the parity cases); weights taken back from their codes are close to the checkpoint's and
answer like it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...core.errors import BackendError
from ...core.files import sha256_path
from ..base import Chat, GenerationOptions, GenerationResult
from ..builders.parity import Answered, compare_engines
from ..checkpoint import CheckpointEngine
from ..hf_folder import read_tensors
from . import quantise_worker
from .builder import ENGINE, JOB, QUANTISED, REPORT
from .dequantise import dequantise, scale_faults
from .layout import CHECKPOINT, write_layout
from .options import TrtllmOptions
from .transformers4 import copy_beside, link_checkpoint
from .weight_error import weight_error

NOT_RUN = "TensorRT-LLM was not run: quantised, checked and laid out on this machine, started on none"
_READABLE = "readable"  # the checkpoint as transformers 4 reads it
_MOST_ROWS = 64
_SHOWN_LINES = 12


def main(job_file: Path) -> None:
    """Do a job and write its report. Started a second time, as after a requeue, it begins anew."""
    job: dict[str, Any] = json.loads(job_file.read_text(encoding="utf-8"))
    os.chdir(job_file.resolve().parent)
    for name in (ENGINE, "fresh", "plain", _READABLE):
        shutil.rmtree(name, ignore_errors=True)
    options = TrtllmOptions.model_validate(job["options"])
    limits = GenerationOptions(max_tokens=job["max_new_tokens"])
    checkpoint = Path("checkpoint")
    readable = link_checkpoint(checkpoint, Path(_READABLE))
    with closing(CheckpointEngine(checkpoint, "cpu", job["threads"], precision="float32")) as model:
        known = Path(QUANTISED)
        if not known.is_dir():
            known = (_quantised if job["preset"] else _in_16_bits)(Path("fresh"), model, job)
        answers = json.loads((known / "answers.json").read_text(encoding="utf-8"))
        live = Answered(_results(model, job["prompts"], answers["answers"], limits))
        cases = compare_engines(model, live, job["prompts"], job["max_new_tokens"])
        _lay_engine(Path(ENGINE), known / CHECKPOINT, readable, options)
        quality = _weights_alone(Path(ENGINE) / CHECKPOINT, checkpoint, options, model, job)
    facts = {
        "not_run": NOT_RUN,
        "quantisation": options.quantisation,
        "live_agreement": sum(case.agrees for case in cases) / len(cases),
        **quality,
        "seconds": answers["seconds"],
    }
    bundle = {"format": 1, "options": job["options"], "tools": answers["versions"], **facts}
    bundle["checkpoint"] = sha256_path(Path(ENGINE) / CHECKPOINT)
    (Path(ENGINE) / "bundle.json").write_text(json.dumps(bundle, indent=1, sort_keys=True) + "\n")
    report = {"tools": answers["versions"], "cases": [vars(case) for case in cases], "facts": facts}
    Path(REPORT).write_text(json.dumps(report), encoding="utf-8")


def _quantised(out: Path, model: CheckpointEngine, job: dict[str, Any]) -> Path:
    """Quantise in ModelOpt's own environment: `checkpoint/` and `answers.json` in a new folder."""
    out.mkdir()
    rows = {name: _taken(model, job[name]) for name in ("calibration", "prompts")}
    asked = {
        "checkpoint": str(Path(_READABLE).resolve()),
        "out": str((out / CHECKPOINT).resolve()),
        **{name: job[name] for name in ("preset", "cache_preset", "max_new_tokens", "threads")},
        **{name: [row for _, row in taken] for name, taken in rows.items()},
        "chats": [chat for chat, _ in rows["prompts"]],
        "ends": sorted(model.ends),
        "pad": model.tokenizer.pad_token_id or 0,
        "most_rows": _MOST_ROWS,
    }
    given = out / "asked.json"
    given.write_text(json.dumps(asked), encoding="ascii")
    python = os.environ["OPSWRIGHT_QUANTISER"]
    command = [python, "-I", "-X", "utf8", quantise_worker.__file__, str(given), str(out / "answers.json")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
        raise BackendError(f"ModelOpt failed (exit {done.returncode}):\n{said}")
    given.unlink()
    found = json.loads((out / "answers.json").read_text(encoding="utf-8"))
    if found["retold"]:
        chat = asked["chats"][found["retold"][0]]
        raise BackendError(
            f"transformers {found['versions']['transformers']}, of the kind that TensorRT-LLM has, turns "
            f"{len(found['retold'])} of {len(asked['chats'])} prompts into other tokens, as {chat[-1]!r}."
        )
    return out


def _taken(model: CheckpointEngine, chats: Sequence[Chat]) -> list[tuple[Chat, list[int]]]:
    """The chats that fit the model, each with the tokens of its prompt."""
    encoded = zip(chats, model.encode(chats), strict=True)
    return [(chat, row) for chat, row in encoded if not isinstance(row, GenerationResult)]


def _in_16_bits(out: Path, model: CheckpointEngine, job: dict[str, Any]) -> Path:
    """The checkpoint as bfloat16, which servers take where nothing is quantised, and what it answers."""
    import torch
    from safetensors.torch import load_file, save_file

    started = time.perf_counter()
    shutil.copytree(_READABLE, out / CHECKPOINT, ignore=shutil.ignore_patterns("*.safetensors*"))
    stored: dict[str, torch.Tensor] = {}
    for path in sorted(Path("checkpoint").glob("*.safetensors")):
        stored |= {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(stored, out / CHECKPOINT / "model.safetensors", metadata={"format": "pt"})
    file = out / CHECKPOINT / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    file.write_text(json.dumps({**config, "dtype": "bfloat16"}, indent=2) + "\n", encoding="utf-8")
    rows = [row for _, row in _taken(model, job["prompts"])]
    with closing(CheckpointEngine(out / CHECKPOINT, "cpu", job["threads"])) as cast:
        answers = [cast.tokens_after(row, job["max_new_tokens"]) for row in rows]
    found = {
        "answers": answers,
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "seconds": {"cast": time.perf_counter() - started},
    }
    (out / "answers.json").write_text(json.dumps(found), encoding="ascii")
    return out


def _results(
    model: CheckpointEngine, prompts: Sequence[Chat], answers: Sequence[list[int]], limits: GenerationOptions
) -> list[GenerationResult]:
    """The quantised model's answer to each prompt; one that does not fit is refused as the model does."""
    said = iter(answers)
    return [
        row if isinstance(row, GenerationResult) else model.result_of(len(row), next(said), limits)
        for row in model.encode(prompts)
    ]


def _lay_engine(engine: Path, quantised: Path, readable: Path, options: TrtllmOptions) -> None:
    """The bundle's folder: quantised weights, the checkpoint's own tokenizer, the servers' files."""
    shutil.copytree(quantised, engine / CHECKPOINT)
    copy_beside(readable, engine / CHECKPOINT)
    for path in (engine / CHECKPOINT).iterdir():
        path.chmod(0o644)  # ModelOpt writes weights that nobody else may read
    write_layout(engine, options)


def _weights_alone(
    export: Path, checkpoint: Path, options: TrtllmOptions, model: CheckpointEngine, job: dict[str, Any]
) -> dict[str, Any]:
    """How close the weights alone come, where they are not packed: error, and answers alike."""
    tensors = read_tensors(export)
    if options.recipe.preset is None:
        return {}
    if any(one.dtype == "U8" for one in tensors.values()):
        return {"weights_alone": "4-bit weights are not unpacked on a CPU"}
    if faults := scale_faults(tensors, options.recipe):
        raise BackendError(f"ModelOpt's export is not whole: {'; '.join(faults[:5])}.")
    plain = dequantise(export, Path("plain"))
    mean, largest = weight_error(checkpoint, plain)
    with closing(CheckpointEngine(plain, "cpu", job["threads"], precision="float32")) as taken_back:
        cases = compare_engines(model, taken_back, job["prompts"], job["max_new_tokens"])
    shutil.rmtree(plain)
    return {
        "weights_alone_agreement": sum(case.agrees for case in cases) / len(cases),
        "weight_error_mean": mean,
        "weight_error_largest": largest,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else JOB))
