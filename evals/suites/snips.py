"""The suite of SNIPS: requests to a voice assistant, each answered by one tool call in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...data.published import snips
from ..scorers import ScorerSpec
from .base import Suite


def suite() -> Suite:
    """The validation split: 700 utterances, 100 of each of seven tools."""
    rows = snips.read_rows(snips.FOLDER, "validate")
    calls = {tool: [row for row in rows if row.tool == tool] for tool in snips.TOOLS}
    schemas = tuple(_schema(tool, calls[tool]) for tool in snips.TOOLS)
    items = tuple(
        replace(row.sample(f"snips-{tool}-{number:03d}"), tools=schemas)
        for tool in snips.TOOLS
        for number, row in enumerate(calls[tool])
    )
    names = ("json_exact", "json_field_f1", "tool_name", "json_schema", "json_valid")
    return Suite(
        "snips",
        items,
        task=snips.TASK,
        slice_tags=("tool",),
        scorers=tuple(ScorerSpec(name) for name in names),
        min_items=100,
        summary="Requests to a voice assistant as JSON calls of seven tools.",
        licence="CC0 1.0",
        source="Coucke et al., 2018",
    )


def _schema(tool: str, calls: Sequence[snips.CallRow]) -> Mapping[str, Any]:
    """The tool as OpenAI's API declares one: its slots are texts, none is required."""
    slots = sorted({slot for call in calls for slot in call.arguments})
    properties = {slot: {"type": "string"} for slot in slots}
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "function", "function": {"name": tool, "parameters": parameters}}
