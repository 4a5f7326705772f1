"""SNIPS: requests to a voice assistant, each one call of seven tools, 13,784 / 700 (Coucke et al., 2018)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...core.errors import AskError
from ..sample import Sample, Task
from . import as_text, check_split, shipped_folder

FOLDER = shipped_folder("snips")
TASK: Task = "extract"
TOOLS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
_FILE_OF = {"train": "train_{}_full.json", "validate": "validate_{}.json"}
SPLITS = tuple(_FILE_OF)
FILES = tuple(name.format(tool) for name in _FILE_OF.values() for tool in TOOLS)


class CallRow(NamedTuple):
    """What a user said, and the tool call that it asks for: the text of each slot, by its name."""

    text: str
    tool: str
    arguments: dict[str, str | list[str]]

    def sample(self, id: str) -> Sample:
        """The call as a sample: the text asked, the call as JSON the right answer."""
        call = json.dumps({"name": self.tool, "arguments": self.arguments}, ensure_ascii=False)
        return Sample.of(id, self.text, call, tags={"tool": self.tool})


def read_rows(folder: Path, split: str) -> list[CallRow]:
    """The rows of one split, tool by tool; AskError for a missing or damaged file."""
    check_split(split, SPLITS, folder)
    return [call for tool in TOOLS for call in _read_calls(folder / _FILE_OF[split].format(tool), tool)]


def _read_calls(path: Path, tool: str) -> Iterator[CallRow]:
    try:
        document = json.loads(_decoded(path.read_bytes()))
        for row in document[tool]:
            parts = row["data"]
            text = "".join(as_text(part["text"]) for part in parts).strip()
            yield CallRow(text, tool, _arguments(parts))
    except FileNotFoundError:
        raise AskError(f"no {path.name} in {path.parent}: the SNIPS layout needs it.") from None
    except (ValueError, LookupError, TypeError) as error:
        raise AskError(
            f"{path} is not in the SNIPS layout ({type(error).__name__}: {error}). It needs '{tool}': "
            '[{"data": [{"text": ..., "entity": ...}, ...]}, ...].'
        ) from error


def _arguments(parts: list[dict[str, str]]) -> dict[str, str | list[str]]:
    """The slots; where one comes more than once (in 61 of all rows) all its texts, in order."""
    said: dict[str, list[str]] = {}
    for part in parts:
        if "entity" in part:
            said.setdefault(part["entity"], []).append(part["text"].strip())
    return {slot: texts[0] if len(texts) == 1 else texts for slot, texts in said.items()}


def _decoded(raw: bytes) -> str:
    """The text: some of the source's files are Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
