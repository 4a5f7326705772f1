"""What tools answer: structured content, and the same as text in which data cannot pass for instructions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.data_block import bounded, data_block
from ...core.errors import OpswrightError
from ...core.exit_code import ExitCode

if TYPE_CHECKING:
    from mcp.types import CallToolResult

    from ...agents.agent import RunOutcome

WAITING = "waiting_for_approval"
RUNNING = "running"
_MOST_TEXT = 2_000
_MOST_ITEMS = 200
_MOST_BYTES = 64_000


def outcome_word(exit_code: int) -> str:
    """The command line's exit code as a word."""
    return ExitCode.of(exit_code).outcome


def fitted(value: Any) -> tuple[Any, bool]:
    """The value, cut until its JSON fits 64 kB, and whether anything was cut."""
    items, text = _MOST_ITEMS, _MOST_TEXT
    plain = json.loads(json.dumps(value, default=str))
    while True:
        cut = bounded(plain, items, text)
        if len(json.dumps(cut)) <= _MOST_BYTES or items <= 1:
            return cut, cut != plain
        items, text = items // 2, max(text // 2, 200)  # references (80 characters) stay whole


def run_document(outcome: RunOutcome, outcome_now: str | None = None) -> dict[str, Any]:
    """How a run stands, for a tool's structured content."""
    return {
        "outcome": outcome_now or outcome_word(outcome.exit_code),
        "exit_code": outcome.exit_code,
        "status": outcome.status,
        "message": outcome.message,
        "run": outcome.run,
        "plan": outcome.plan.id if outcome.plan is not None else None,
        "verdict": outcome.verdict,
    }


def tool_result(source: str, content: Mapping[str, Any], *, is_error: bool = False) -> CallToolResult:
    """A tool's answer: our sentence outside the marks, everything that came from elsewhere between them."""
    from mcp.types import CallToolResult, TextContent

    cut, was_cut = fitted(dict(content))
    if was_cut:
        cut["cut"] = True
    told = f"outcome: {cut.get('outcome')}"
    return CallToolResult(
        content=[TextContent(type="text", text=f"{told}\n{data_block(source, cut)}")],
        structured_content=cut,
        is_error=is_error,
    )


def refused(source: str, error: OpswrightError) -> CallToolResult:
    """A refusal in words, with the word of the command line's exit code."""
    return tool_result(
        source,
        {
            "outcome": outcome_word(error.exit_code),
            "exit_code": error.exit_code,
            "family": error.family,
            "message": str(error),
        },
        is_error=True,
    )
