"""What an import of a `.nemo` archive is given, and what is refused before any of it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...core.contract import InputPath
from ...core.errors import AskError
from .archive import WEIGHTS, Archive
from .megatron import TARGETS, LlamaShape

# nemo-toolkit 3.0 opens only targets of its own packages, so an export names its base class, and the
# reader's class is the one that `restore_from` is called on.
EXPORT_TARGET = "nemo.core.classes.modelPT.ModelPT"


Tokenizer = Annotated[
    InputPath | None,
    Field(
        description="Hugging Face folder with the model's tokenizer; Megatron's archives hold none in that "
        "form."
    ),
]
Golden = Annotated[
    InputPath | None,
    Field(
        description="JSONL of prompts and the answers that the model is known to give, which the import "
        "must give: prompt and answer, or messages. Needed for Megatron's archives."
    ),
]
MinGolden = Annotated[float, Field(gt=0, le=1, description="Least share of golden answers, 0 to 1.")]


class NemoImport(BaseModel):
    """What an archive does not hold and its import needs: its tokenizer, and answers it must give."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokenizer: Tokenizer = None
    golden: Golden = None
    min_golden: MinGolden = 1.0


def is_export(archive: Archive) -> bool:
    """Whether it was made by this skill's export."""
    return archive.target == EXPORT_TARGET and isinstance(archive.config.get("hf_config"), dict)


def check_archive(archive: Archive) -> None:
    """AskError for an archive that is unsafe, of somebody unknown, split, or no dense Llama-like model."""
    archive.check()
    if is_export(archive):
        if "auto_map" in archive.config["hf_config"]:
            raise AskError(f"{archive.path} asks to run its own code (auto_map), which is refused.")
    elif archive.target in TARGETS:
        LlamaShape.of(archive.config)
    else:
        raise AskError(
            f"{archive.path} was made by '{archive.target[:200] or 'nobody it names'}', which is not read. "
            f"Read are exports of this skill and {', '.join(name.rpartition('.')[2] for name in TARGETS)}."
        )
    if WEIGHTS not in archive.sizes:
        split = [name for name in archive.sizes if name.endswith(f"/{WEIGHTS}")]
        why = "they are split over several ranks" if split else "it may be a distributed checkpoint"
        raise AskError(f"{archive.path} has no {WEIGHTS} of its own: {why}. Merge it with NeMo first.")


def check_import(archive: Archive, given: NemoImport) -> None:
    """AskError for an archive that is not to be imported, or an import without what it needs."""
    check_archive(archive)
    if not is_export(archive):
        for name, why in (
            ("tokenizer", "It holds no tokenizer in Hugging Face's form."),
            ("golden", "Weights in a wrong order load without an error; only answers show it."),
        ):
            if getattr(given, name) is None:
                raise AskError(f"{archive.path} was made by Megatron: its import needs `{name}`. {why}")
    if given.tokenizer is not None and not given.tokenizer.is_dir():
        raise AskError(f"tokenizer {given.tokenizer} not found: expected a Hugging Face folder.")
    if given.golden is not None:
        golden_rows(given.golden)


def golden_rows(path: Path) -> list[tuple[Any, str]]:
    """Prompts (texts, or messages) and their answers; AskError for a file without, naming the line."""
    rows: list[tuple[Any, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AskError(f"golden answers {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "messages" in row:
                *prompt, last = row["messages"]
                pair: tuple[Any, Any] = (prompt, last["content"])
            else:
                pair = (row["prompt"], row["answer"])
            if not pair[0] or not isinstance(pair[1], str) or not pair[1].strip():
                raise ValueError("an empty prompt or answer")
        except (ValueError, KeyError, TypeError) as error:
            raise AskError(
                f"{path}, line {number}: expected prompt and answer, or messages that end with the answer "
                f"({error!r})."
            ) from error
        rows.append((pair[0], pair[1]))
    if not rows:
        raise AskError(f"{path} holds no golden answers.")
    return rows
