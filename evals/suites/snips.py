"""The suite of SNIPS: requests to a voice assistant, each answered by one tool call in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import AskError
from ...data.sample import Sample
from ..scorers import ScorerSpec
from .base import Suite

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "tool_calls" / "raw" / "snips"
TOOLS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)


def suite() -> Suite:
    """The validation split: 700 utterances, 100 of each of seven tools."""
    calls = {tool: list(read_calls(FOLDER / f"validate_{tool}.json", tool)) for tool in TOOLS}
    schemas = tuple(_schema(tool, [arguments for _, arguments in calls[tool]]) for tool in TOOLS)
    items = tuple(
        Sample.of(
            f"snips-{tool}-{number:03d}",
            text,
            json.dumps({"name": tool, "arguments": arguments}, ensure_ascii=False),
            tools=schemas,
            tags={"tool": tool},
        )
        for tool in TOOLS
        for number, (text, arguments) in enumerate(calls[tool])
    )
    names = ("json_exact", "json_field_f1", "tool_name", "json_schema", "json_valid")
    return Suite(
        "snips",
        items,
        task="extract",
        slice_tags=("tool",),
        scorers=tuple(ScorerSpec(name) for name in names),
        min_items=100,
        summary="Requests to a voice assistant as JSON calls of seven tools.",
        licence="CC0 1.0",
        source="Coucke et al., 2018",
    )


def read_calls(path: Path, tool: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each utterance of a file of SNIPS with its slots; AskError for a missing or damaged file."""
    try:
        raw = path.read_bytes()
        document = json.loads(_decoded(raw))
        for row in document[tool]:
            parts = row["data"]
            text = "".join(part["text"] for part in parts).strip()
            yield text, {part["entity"]: part["text"].strip() for part in parts if "entity" in part}
    except FileNotFoundError:
        raise AskError(f"no {path.name} in {path.parent}: the suite snips needs it.") from None
    except (ValueError, LookupError, TypeError) as error:
        raise AskError(f"{path} is not in the layout of SNIPS ({type(error).__name__}: {error}).") from error


def _decoded(raw: bytes) -> str:
    """The text: some of the source's files are Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _schema(tool: str, arguments: list[dict[str, str]]) -> Mapping[str, Any]:
    """The tool as OpenAI's API declares one: its slots are texts, none is required."""
    slots = sorted({slot for one in arguments for slot in one})
    properties = {slot: {"type": "string"} for slot in slots}
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "function", "function": {"name": tool, "parameters": parameters}}
