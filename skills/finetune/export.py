"""The trained model as a Hugging Face folder: the kept weights, tokenizer, generation defaults, adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import BackendError
from .classes import LABELS, read_labels
from .classifier import METHOD
from .recipe import CHECKPOINTS
from .selecting import BEST
from .status import RESULT, Job, tell

if TYPE_CHECKING:
    import torch

ADAPTER = "adapter"
GENERATION = "generation_config.json"
# Largest difference of logits after a merge, as a share of the largest logit: weights in float32, in 16 bits.
_GAP, _GAP_16 = 1e-4, 5e-2
_PROBE_ROWS, _PROBE_TOKENS = 4, 128
_MOST_IN_FLOAT32 = 2_000_000_000  # parameters up to which a merge is computed in float32


def export(job: Job, folder: Path, ends: Sequence[int]) -> None:
    """Put the trained model into `result/`; ends: tokens that end an answer, where generation stops."""
    kept = kept_checkpoint(folder / CHECKPOINTS, job.keep_best, job.kept_by_suite)
    step = int(kept.name.rpartition("_")[2]) + 1
    tell(folder, kept=step)
    trained = kept / "model"
    fresh = folder / "result.new"
    shutil.rmtree(fresh, ignore_errors=True)
    if job.method in ("sft", METHOD):
        shutil.copytree(trained / "consolidated", fresh)
        _name_the_only_shard(fresh)
    else:
        gap = merge(folder / "base", trained, fresh, folder / "data" / "train.jsonl")
        tell(folder, message=f"adapters merged: logits differ by at most {gap:.2g} of the largest", gap=gap)
    if job.method != METHOD and not (folder / "base" / GENERATION).exists():
        _write_generation_config(fresh)
    for path in (folder / "base").iterdir():  # what a trainer may not write: template, generation defaults
        if path.suffix in (".json", ".jinja", ".model") and not (fresh / path.name).exists():
            shutil.copy2(path, fresh / path.name)
    if job.method == METHOD:
        _finish_classifier(fresh, read_labels(folder / LABELS))
    else:
        stop_at(fresh / GENERATION, ends)
    shutil.rmtree(folder / RESULT, ignore_errors=True)
    fresh.rename(folder / RESULT)


def _finish_classifier(folder: Path, labels: Sequence[str]) -> None:
    """Name the labels, and the token that pads, where every reader of Hugging Face folders looks for them."""
    from ...engines.classifier import head_of, pad_token
    from .precheck import open_tokenizer

    (folder / GENERATION).unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {
        "architectures": [head_of(config["model_type"])],  # AutoModel leaves the base's there
        "id2label": {str(place): label for place, label in enumerate(labels)},
        "label2id": {label: place for place, label in enumerate(labels)},
        "pad_token_id": pad_token(open_tokenizer(folder)),
        "problem_type": "single_label_classification",
    }
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def kept_checkpoint(checkpoints: Path, keep_best: bool, by_suite: bool = False) -> Path:
    """The folder of the checkpoint that is kept: the best by a suite, or AutoModel's LOWEST_VAL or LATEST."""
    best = checkpoints / (BEST if by_suite else "LOWEST_VAL")
    kept = best if keep_best and best.exists() else checkpoints / "LATEST"
    return kept.resolve()


def stop_at(path: Path, ends: Sequence[int]) -> None:
    """Have generation stop at these tokens too: a template's end token need not be the tokenizer's own."""
    config = json.loads(path.read_text(encoding="utf-8"))
    found = config.get("eos_token_id")
    known = found if isinstance(found, list) else [] if found is None else [found]
    if missing := [end for end in ends if end not in known]:
        stops = [*missing, *known]
        config["eos_token_id"] = stops[0] if len(stops) == 1 else stops
        path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _write_generation_config(folder: Path) -> None:
    """Greedy, and stop at the end token: what the model was trained for."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokens = {f"{name}_token_id": config.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}
    text = json.dumps({"do_sample": False, **{k: v for k, v in tokens.items() if v is not None}}, indent=1)
    (folder / GENERATION).write_text(text + "\n", encoding="utf-8")


def _name_the_only_shard(folder: Path) -> None:
    """A model in one file is called model.safetensors and needs no index."""
    shards = list(folder.glob("model-*.safetensors"))
    if len(shards) == 1:
        shards[0].rename(folder / "model.safetensors")
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)


def merge(base: Path, adapter: Path, result: Path, data: Path) -> float:
    """Merge adapters into a base, in the base's own type, with the adapters beside the model.

    The saved model is loaded again and must give the logits of base and adapters, on rows of the data.
    Returns the largest difference as a share of the largest logit; BackendError above the bound.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    from ...engines.hf_folder import count_parameters
    from .precheck import open_tokenizer

    stored: Any = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype or torch.float32
    dtype = torch.float32 if count_parameters(base) <= _MOST_IN_FLOAT32 else stored
    tokenizer = open_tokenizer(base)
    probes = _probes(tokenizer, data)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, trust_remote_code=False)
    model = PeftModel.from_pretrained(model, adapter).eval()
    wanted = _logits(model, probes)
    model = model.merge_and_unload().to(stored)
    model.save_pretrained(result)
    del model
    again: Any = AutoModelForCausalLM.from_pretrained(result, dtype=dtype, trust_remote_code=False)
    gap = largest_gap(wanted, _logits(again.eval(), probes))
    bound = _GAP if stored == torch.float32 else _GAP_16
    if not gap <= bound:
        raise BackendError(
            f"the merged model is not the base with its adapters: logits differ by {gap:.2g} of the largest, "
            f"at most {bound:g} is expected. The adapters are in {adapter}."
        )
    tokenizer.save_pretrained(result)
    (result / ADAPTER).mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy2(adapter / name, result / ADAPTER / name)
    return gap


def largest_gap(wanted: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """The largest difference of any logit, as a share of the largest; not a number where one is none."""
    gaps = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(wanted, found, strict=True)]
    return max(gaps, key=lambda gap: (gap != gap, gap))


def _probes(tokenizer: Any, data: Path) -> list[torch.Tensor]:
    """A few rows of the data as the model reads them: (1, tokens) each."""
    import torch

    from .chat_rows import chat_rows

    chats = chat_rows(data, tokenizer)
    rows = [chats[number]["input_ids"][:_PROBE_TOKENS] for number in range(min(_PROBE_ROWS, len(chats)))]
    return [torch.tensor([row]) for row in rows]


def _logits(model: Any, probes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    import torch

    with torch.inference_mode():
        return [model(input_ids=probe).logits[0].float() for probe in probes]
