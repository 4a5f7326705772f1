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
_TIMEOUT_S = 600.0
_QUICK_TIMEOUT_S = 120.0
_FAMILIES = {"AskError": AskError, "NeedsError": NeedsError}


@dataclass(frozen=True)
class PreCheck:
    """What is checked: a recipe, and a data folder's rows with a base's tokenizer (None: the recipe alone).

    rows: how many of each file are tokenised for their length, spread over it; None for all.
    """

    recipe: str
    data: str | None = None
    base: str | None = None
    teacher: str | None = None
    max_tokens: int = 0
    too_long: str = "drop"
    last_turn_only: bool = False
    rows: int | None = None

    def quick(self) -> PreCheck:
        """The same on at most 2,000 rows of each file."""
        return PreCheck(**{**asdict(self), "rows": _QUICK_ROWS})


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
    limit = _TIMEOUT_S if check.rows is None else _QUICK_TIMEOUT_S
    try:
        done = subprocess.run(
            COMMAND,
            input=json.dumps(asdict(check)),
            capture_output=True,
            text=True,
            env=environment,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AskError(
            f"the rows were not checked within {limit:.0f} s: the base's chat template is too slow for them, "
            "or does not end. Try it on a few rows."
        ) from error
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
    with contextlib.redirect_stdout(sys.stderr):  # libraries print there
        told = outcome(check)
    print(json.dumps(told))
    return 0


def outcome(check: PreCheck) -> dict[str, Any]:
    """What was `found`, or the `family` and `message` of the error, in this very process."""
    try:
        return {"found": [*_recipe(check), *_rows(check)]}
    except (AskError, NeedsError) as error:
        return {"family": type(error).__name__, "message": str(error)}


def _recipe(check: PreCheck) -> list[str]:
    """Have AutoModel read the recipe and build its typed parts; nothing of it is started."""
    if not check.recipe:
        return []
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
            parts = ("step_scheduler", "dataloader", "validation_dataloaders", "optimizer", "lr_scheduler")
            for part in (*parts, "checkpoint", "loss_fn"):
                getattr(config, part)
            part = "distributed"
            parse_distributed_section(read.distributed.to_dict())
            part = "peft"
            if read.get("peft") is not None:
                read.peft.instantiate()
        except Exception as error:  # AutoModel raises TypeError, ValueError, AttributeError, ...
            raise AskError(
                f"NeMo AutoModel does not take the recipe's {part}: {error}. Check the overrides."
            ) from error
    return []


def _rows(check: PreCheck) -> list[str]:
    if check.data is None or check.base is None:
        return []
    from .labels import check_labels
    from .teacher import check_same_tokens

    tokenizer = open_tokenizer(Path(check.base))
    if check.teacher is not None:
        check_same_tokens(tokenizer.get_vocab(), open_tokenizer(Path(check.teacher)).get_vocab())
    found = []
    for name in ("train", "validation"):
        path = Path(check.data) / f"{name}.jsonl"
        if path.is_file() and path.stat().st_size:
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
