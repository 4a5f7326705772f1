"""Import and export with torch, in a process of its own: `python -m opswright.skills.nemo_archive.worker`.

Reads an `ArchiveJob` as JSON from standard input and writes one JSON line: what it did, or an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.errors import AskError, NeedsError
from .archive import CONFIG, WEIGHTS, Archive, inspect, unpack
from .importable import EXPORT_TARGET, check_archive, golden_rows, is_export
from .megatron import LlamaShape, to_llama

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
_ALSO = ("generation_config.json",)
_SPARE_TOKENS = 8


@dataclass(frozen=True)
class ArchiveJob:
    """One import (`archive` to the folder `out`) or export (`checkpoint` to the file `out`)."""

    action: str
    out: str
    archive: str = ""
    checkpoint: str = ""
    tokenizer: str = ""
    golden: str = ""
    min_golden: float = 1.0


def main() -> int:
    """Do what standard input asks, and tell it on standard output."""
    ask = ArchiveJob(**json.load(sys.stdin))
    with contextlib.redirect_stdout(sys.stderr):
        try:
            told: dict[str, Any] = read_in(ask) if ask.action == "import" else write_out(ask)
        except (AskError, NeedsError) as error:
            told = {"family": type(error).__name__, "message": str(error)}
    print(json.dumps(told))
    return 0


def read_in(ask: ArchiveJob) -> dict[str, Any]:
    """Import an archive into a Hugging Face folder; AskError when any of it cannot be accounted for."""
    archive = inspect(Path(ask.archive))
    check_archive(archive)
    out = Path(ask.out)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        if is_export(archive):
            tensors, keys = _from_export(archive, Path(folder), out)
        else:
            tensors, keys = _from_megatron(archive, Path(folder), out, Path(ask.tokenizer))
    matched = _golden(ask, out) if ask.golden else None
    return {"tensors": tensors, "keys": keys, "golden": matched}


def _weights(archive: Archive, folder: Path) -> dict[str, Any]:
    """The archive's tensors by key, loaded without running anything of it."""
    import torch

    unpack(archive, [WEIGHTS], folder)
    try:
        state = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what the file makes it
        why = str(error).splitlines()[0][:300]
        raise AskError(f"{archive.path}: its weights cannot be loaded as tensors alone: {why}") from error
    if not isinstance(state, Mapping):
        raise AskError(f"{archive.path}: its weights are a {type(state).__name__}, expected tensors by name.")
    return {str(key): value for key, value in state.items()}


def _from_export(archive: Archive, folder: Path, out: Path) -> tuple[int, int]:
    from transformers import AutoConfig, AutoModelForCausalLM

    state = _weights(archive, folder)
    values = dict(archive.config["hf_config"])
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    _load(
        model, {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    )
    if other := [key for key in state if not key.startswith("model.")]:
        raise AskError(f"{archive.path} has tensors of no model: {', '.join(other[:5])}.")
    model.save_pretrained(out)
    names = {str(name): place for place, name in dict(archive.config.get("tokenizer_files", {})).items()}
    stored = dict(archive.config.get("tokenizer", {}))
    for name, place in names.items():
        if name not in (*_TOKENIZER, *_ALSO):
            raise AskError(f"{archive.path} names a file '{name[:60]}' that no tokenizer has.")
        member = str(stored.get(place, "")).removeprefix("nemo:")
        unpack(archive, [member], folder)
        (out / name).write_bytes((folder / PurePosixPath(member).name).read_bytes())
    return len(model.state_dict()), len(state)


def _from_megatron(archive: Archive, folder: Path, out: Path, tokenizer_folder: Path) -> tuple[int, int]:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape = LlamaShape.of(archive.config)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=False)
    state = {
        key: value for key, value in _weights(archive, folder).items() if isinstance(value, torch.Tensor)
    }
    tensors = to_llama(state, shape, len(tokenizer))
    dtypes = {tensor.dtype for tensor in tensors.values()}
    dtype = next(iter(dtypes)) if len(dtypes) == 1 else torch.float32
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    values = shape.llama_config(len(tokenizer), str(dtype).removeprefix("torch."))
    model: Any = LlamaForCausalLM(LlamaConfig(**values, **special))  # type: ignore[no-untyped-call]
    model = model.to(dtype)
    _load(model, tensors)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return len(tensors), len(state)


def _load(model: Any, tensors: Mapping[str, Any]) -> None:
    """Put every tensor in its place; AskError for one too many or missing (tied ones count as there)."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise AskError(f"the archive's tensors are not its config's: {str(error)[:300]}") from error
    missing = [key for key in found.missing_keys if key not in tied]
    if missing or found.unexpected_keys:
        names = ", ".join([*missing, *found.unexpected_keys][:5])
        raise AskError(f"the archive's tensors are not its config's: missing or left over are {names}.")


def _golden(ask: ArchiveJob, out: Path) -> dict[str, Any]:
    """How many golden answers the imported model gives; AskError when fewer than are asked for."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=False)
    model.eval()
    rows = golden_rows(Path(ask.golden))
    right, first_wrong = 0, ""
    with torch.inference_mode():
        for prompt, answer in rows:
            text = prompt if isinstance(prompt, str) else _rendered(tokenizer, prompt)
            ids = tokenizer(text, return_tensors="pt", add_special_tokens=isinstance(prompt, str)).input_ids
            budget = len(tokenizer(answer, add_special_tokens=False).input_ids) + _SPARE_TOKENS
            made = model.generate(ids, max_new_tokens=budget, do_sample=False)[0, ids.shape[1] :]
            said = str(tokenizer.decode(made, skip_special_tokens=True)).strip()
            if said.startswith(answer.strip()):
                right += 1
            elif not first_wrong:
                first_wrong = f"to {text[-60:]!r} it says {said[:60]!r}, expected {answer[:60]!r}"
    if right < ask.min_golden * len(rows):
        raise AskError(
            f"the imported model gives {right} of {len(rows)} golden answers, at least "
            f"{ask.min_golden:.0%} are "
            f"asked for; {first_wrong}. Weights in a wrong order load without an error and answer like this."
        )
    return {"right": right, "of": len(rows)}


def _rendered(tokenizer: Any, messages: Sequence[Any]) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def write_out(ask: ArchiveJob) -> dict[str, Any]:
    """Export a Hugging Face folder to a `.nemo` file; the same model gives the same bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    checkpoint = Path(ask.checkpoint)
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto", trust_remote_code=False)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    weights = io.BytesIO()
    torch.save(state, weights)
    files = {
        name: (checkpoint / name).read_bytes()
        for name in (*_TOKENIZER, *_ALSO)
        if (checkpoint / name).is_file()
    }
    members, config = _members(model, files)
    members[WEIGHTS] = weights.getvalue()
    members = {CONFIG: config, **members}
    with tarfile.open(ask.out, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return {"tensors": len(state), "members": len(members)}


def _members(model: Any, files: Mapping[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """The files as members named as NeMo names artifacts, and the config that refers to them."""
    import yaml

    stored, names, members = {}, {}, {}
    for name, data in files.items():
        place = name.replace(".", "_")
        member = f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}_{name}"
        stored[place], names[place], members[member] = f"nemo:{member}", name, data
    values = {
        "target": EXPORT_TARGET,
        "nemo_version": "3.0.0",
        "hf_config": {**json.loads(model.config.to_json_string()), "model_type": model.config.model_type},
        "tokenizer": stored,
        "tokenizer_files": names,
    }
    return members, yaml.safe_dump(values, sort_keys=True).encode()


def ask_json(ask: ArchiveJob) -> str:
    """What standard input takes."""
    return json.dumps(asdict(ask))


if __name__ == "__main__":
    sys.exit(main())
