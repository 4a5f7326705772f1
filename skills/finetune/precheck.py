"""What would stop a training minutes after it began, found before it is submitted, in a process of its own.

AutoModel reads the recipe with the overrides, and the base's own tokenizer and chat template render the rows:
neither is loaded by whoever plans. `python -m opswright.skills.finetune.precheck` reads a `PreCheck` as JSON
and writes one JSON line.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, NeedsError
from ...core.files import files_below

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COMMAND = (sys.executable, "-P", "-m", "opswright.skills.finetune.precheck")
_QUICK_ROWS = 2_000
_CPU_S, _QUICK_CPU_S = 600, 120
_WALL_S = 3_600  # for one that waits, as a machine's other users make it
_FAMILIES = {"AskError": AskError, "NeedsError": NeedsError}


@dataclass(frozen=True)
class PreCheck:
    """What is checked: a recipe, and a data folder's rows with a base's tokenizer (None: the recipe alone).

    rows: how many of each file are tokenised for their length, spread over it; None for all. cpu_s: seconds
    of CPU time that it may take.
    """

    recipe: str
    data: str | None = None
    base: str | None = None
    teacher: str | None = None
    max_tokens: int = 0
    too_long: str = "drop"
    last_turn_only: bool = False
    classifies: bool = False
    rows: int | None = None
    cpu_s: int = _CPU_S

    def quick(self) -> PreCheck:
        """The same on at most 2,000 rows of each file."""
        return PreCheck(**{**asdict(self), "rows": _QUICK_ROWS, "cpu_s": _QUICK_CPU_S})


def run_check(check: PreCheck) -> tuple[str, ...]:
    """What was found, in words, a line each.

    Raises AskError for a recipe that AutoModel does not take, rows whose labels are wrong, too long or not
    rendered, and a template that does not end; NeedsError when what it takes is not installed.
    """
    if not check.recipe and check.data is None:
        return ()
    return _run_once(check, _stamp(check.base), _stamp(check.data), _stamp(check.teacher))


def _stamp(folder: str | None) -> tuple[tuple[str, int, int], ...]:
    """What tells whether a folder is still the one that was checked."""
    if folder is None:
        return ()
    stats = ((name, path.stat()) for name, path in files_below(Path(folder)).items())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@functools.lru_cache(maxsize=32)  # a plan is looked at several times before it runs
def _run_once(check: PreCheck, *_: object) -> tuple[str, ...]:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            COMMAND,
            input=json.dumps(asdict(check)),
            capture_output=True,
            text=True,
            env=environment,
            timeout=_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"the check before training did not end within {_WALL_S:,} s. This machine may be "
            "too busy: repeat it when others use it less."
        ) from error
    if done.returncode == -signal.SIGXCPU:
        raise AskError(
            f"the rows were not checked within {check.cpu_s} s of CPU time: the base's chat template is too "
            "slow for them, or does not end. Try it on a few rows."
        )
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BackendError(
            f"the check before training ended with code {done.returncode}: {last[:500]}"
        ) from error
    if "family" in told:
        raise _FAMILIES.get(told["family"], BackendError)(told["message"])
    return tuple(told["found"])


def main() -> int:
    """Check what standard input asks, and tell it on standard output."""
    check = PreCheck(**json.load(sys.stdin))
    resource.setrlimit(resource.RLIMIT_CPU, (check.cpu_s, check.cpu_s + 5))  # the system ends it with SIGXCPU
    with contextlib.redirect_stdout(sys.stderr):  # libraries print there
        told = outcome(check)
    print(json.dumps(told))
    return 0


def outcome(check: PreCheck) -> dict[str, Any]:
    """What was `found`, or the `family` and `message` of the error, in this very process."""
    try:
        _check_recipe(check)
        return {"found": _rows(check)}
    except (AskError, NeedsError) as error:
        return {"family": type(error).__name__, "message": str(error)}


def _check_recipe(check: PreCheck) -> None:
    """Have AutoModel read the recipe and build its parts, on one layer in place of the model."""
    if not check.recipe:
        return
    import torch
    from nemo_automodel.components.config.loader import load_yaml_config
    from nemo_automodel.recipes._dist_utils import parse_distributed_section
    from nemo_automodel.recipes._typed_config import RecipeConfig

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(check.recipe)
        file.flush()
        part = "recipe"
        try:
            read = load_yaml_config(file.name)
            config = RecipeConfig(read)
            parts = ("dataloader", "validation_dataloaders", "checkpoint", "loss_fn")
            for part in parts[:3] if check.classifies else parts:
                getattr(config, part)
            part = "step_scheduler"
            steps = config.step_scheduler.build([None], 1, read.step_scheduler.local_batch_size)
            _ = (steps.is_val_step, steps.is_ckpt_step)  # numbers are first used as such here
            part = "optimizer"
            optimizer = config.optimizer.build(torch.nn.Linear(1, 1), device_mesh=None, is_peft=False)
            part = "lr_scheduler"
            if config.lr_scheduler is not None:
                config.lr_scheduler.build(optimizer, steps)
            part = "distributed"
            parse_distributed_section(read.distributed.to_dict())
            part = "peft"
            adapters = read.peft.instantiate() if read.get("peft") is not None else None
        except Exception as error:  # AutoModel raises TypeError, ValueError, AttributeError, ...
            raise AskError(
                f"NeMo AutoModel does not take the recipe's {part}: {error}. Check the overrides."
            ) from error
    if adapters is not None and check.base is not None:
        _check_targets(adapters, Path(check.base))


def _check_targets(adapters: Any, base: Path) -> None:
    """AskError for a name of modules to adapt that AutoModel finds no linear layer of the base by."""
    import torch
    from nemo_automodel.components._peft.module_matcher import ModuleMatcher
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):  # shapes alone: nothing is loaded
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    targets = adapters.target_modules
    for target in [targets] if isinstance(targets, str) else targets or []:
        matcher = ModuleMatcher(target_modules=[target])
        if not any(matcher.match(module, name) for name, module in layers.items()):
            named = sorted({name.rpartition(".")[2] for name in layers})
            raise AskError(
                f"lora_targets '{target}' is no linear layer of the base, whose layers end in "
                f"{', '.join(named[:12])}. Names are whole ones, with * for any part, as '*{named[0]}'."
            )


def _rows(check: PreCheck) -> list[str]:
    if check.data is None or check.base is None:
        return []
    from .labels import check_labels
    from .teacher import check_same_tokens

    tokenizer = open_tokenizer(Path(check.base))
    if check.classifies:
        from ...engines.classifier import head_of
        from ...engines.hf_folder import read_config

        head_of(read_config(Path(check.base))["model_type"])
    if check.teacher is not None:
        check_same_tokens(tokenizer.get_vocab(), open_tokenizer(Path(check.teacher)).get_vocab())
    found = []
    for name in ("train", "validation"):
        path = Path(check.data) / f"{name}.jsonl"
        if path.is_file() and path.stat().st_size and check.classifies:
            found += _text_lengths(check, path, tokenizer)
        elif path.is_file() and path.stat().st_size:
            labels = check_labels(path, tokenizer, last_turn_only=check.last_turn_only)
            found += labels.in_words(path.name)
            found += _lengths(check, path, tokenizer)
    return found


def open_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """A base's tokenizer, without code of its own; AskError when it cannot be read."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise what the file makes them
        raise AskError(f"the tokenizer in {base} cannot be read: {str(error)[:300]}") from error
    return tokenizer


def _text_lengths(check: PreCheck, path: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What is done with a classifier's rows that are too long."""
    from ...engines.classifier import longest_text, token_rows
    from .classes import labelled_rows
    from .labels import spread
    from .shares import read_lines
    from .tokenised_chat import check_lengths

    texts = [text for text, _ in labelled_rows(read_lines(path), path.name)]
    numbers = list(spread(len(texts), check.rows) if check.rows else range(len(texts)))
    most = min(check.max_tokens, longest_text(tokenizer))
    rows = token_rows(tokenizer, [texts[number] for number in numbers])
    long = {n: len(row) for n, row in zip(numbers, rows, strict=True) if len(row) > most}
    rule: Any = check.too_long
    return [check_lengths(path.name, long, len(numbers), most, rule)] if long else []


def _lengths(check: PreCheck, path: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    from .chat_rows import tools_of
    from .labels import one_row, spread
    from .tokenised_chat import check_lengths

    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    numbers = spread(len(lines), check.rows) if check.rows else range(len(lines))
    long = {}
    for number in numbers:
        with one_row(path, number):
            row = json.loads(lines[number])
            tools: Any = tools_of(row)
            ids: Any = tokenizer.apply_chat_template(row["messages"], tools=tools, return_dict=True)
            length = len(ids["input_ids"])
        if length > check.max_tokens:
            long[number] = length
    if not long:
        return []
    rule: Any = check.too_long
    return [check_lengths(path.name, long, len(numbers), check.max_tokens, rule)]


if __name__ == "__main__":
    sys.exit(main())
