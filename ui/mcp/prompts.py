"""Prompts: what people ask for often, as a message that names the tools and resources to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

from ...core.errors import AskError, did_you_mean
from ...core.text import escaped, one_line

if TYPE_CHECKING:
    from mcp.types import GetPromptResult, Prompt

_MOST_VALUE = 300


@dataclass(frozen=True)
class PromptText:
    """One prompt: arguments by name with what they are, and the text they are put in."""

    about: str
    arguments: Mapping[str, str]
    text: str
    optional: tuple[str, ...] = ()


PROMPTS = {
    "ship-a-model": PromptText(
        "Plan the way from a data file to a guarded endpoint.",
        {"source": "The data file or folder.", "suite": "The suite that judges the model."},
        "Plan how to ship a model trained on $source and judged on suite $suite. Look at the resource "
        "opswright://leaderboard first. Write a plan file (golden, curate, finetune, evaluate with a gate, "
        "build-engine, deploy as a canary), propose it with the tool propose_plan, and show me its steps, "
        "costs and findings. Do not run it: I approve it myself.",
    ),
    "compare-models": PromptText(
        "Say which model of a suite is best, and how sure that is.",
        {"suite": "The suite."},
        "Read opswright://leaderboard/$suite. Say which models are shown to be better than which (tiers and "
        "intervals, not only means), how they stand to the baselines, what each costs in latency and size, "
        "and what gates decided. Do not call a difference real that the intervals do not show.",
    ),
    "explain-run": PromptText(
        "Say what a run did, and why it ended as it did.",
        {"run": "The run's id."},
        "Read opswright://runs/$run and the records of the ledger that it names. Say what was asked, who "
        "approved it, what each step did, what it took, and why it ended as it did. If a gate said NO_GO or "
        "INCONCLUSIVE, give its rows and what would change them.",
    ),
    "look-after-an-endpoint": PromptText(
        "Look whether an endpoint is well, and propose what to do if not.",
        {"endpoint": "The endpoint.", "suite": "The suite that judges it."},
        "Look whether endpoint $endpoint is well: use the tools that only read, then propose a drift report. "
        "If something is wrong, propose a plan (retrain and judge on $suite, or roll back) and say what its "
        "users would get before and after. Run nothing that I have not approved.",
        optional=("suite",),
    ),
}


def prompt_list() -> list[Prompt]:
    """The prompts as the protocol lists them."""
    from mcp.types import Prompt, PromptArgument

    return [
        Prompt(
            name=name,
            title=name.replace("-", " ").capitalize(),
            description=one.about,
            arguments=[
                PromptArgument(name=key, description=about, required=key not in one.optional)
                for key, about in one.arguments.items()
            ],
        )
        for name, one in PROMPTS.items()
    ]


def prompt_text(name: str, given: Mapping[str, str]) -> GetPromptResult:
    """A prompt with its arguments; AskError for an unknown one, or an argument that is missing."""
    from mcp.types import GetPromptResult, PromptMessage, TextContent

    if name not in PROMPTS:
        raise AskError(f"unknown prompt '{name[:80]}'.{did_you_mean(name, PROMPTS)}")
    one = PROMPTS[name]
    for key in given:
        if key not in one.arguments:
            raise AskError(f"prompt {name} takes {', '.join(one.arguments)}, not '{key[:80]}'.")
    missing = [key for key in one.arguments if not given.get(key) and key not in one.optional]
    if missing:
        raise AskError(f"prompt {name} needs {', '.join(missing)}.")
    values = {
        key: repr(escaped(one_line(given.get(key) or "its own"))[:_MOST_VALUE]) for key in one.arguments
    }
    text = Template(one.text).substitute(values)
    message = PromptMessage(role="user", content=TextContent(type="text", text=text))
    return GetPromptResult(description=one.about, messages=[message])
