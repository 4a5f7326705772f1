"""A model's plan, checked as a plan file is, and for what must come from the person's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....core.compile import compile_plan
from ....core.contract import Effect
from ....core.errors import AskError
from ....core.pins import with_pins
from ....core.plan import GATE_SKILL, Plan
from ....core.plan_file import PlanText, plan_text_of
from ....core.strict_yaml import YamlText
from ....core.text import one_line
from ..base import Ask, PlannerSetup, Proposal

_TOP = frozenset({"steps", "gates", "budget"})
_STEP = frozenset({"id", "skill", "with", "gate", "after"})  # no waiver: it is a person's, on the card
_GOAL = 200
_DEEPEST = 12
_BEFORE, _AFTER = r"""(?<![^\s"'`(<\[{=,])""", r"""(?=[.,;:!?]*(?:[\s"'`)>\]}]|$))"""  # of a whole word


def plan_proposal(setup: PlannerSetup, ask: Ask, arguments: Mapping[str, Any], words: str) -> Proposal:
    """The proposal of a model's plan; AskError says what is wrong with it, for the model to put right.

    words: all that the person said. The goal is what they ask, never what the model says it is for.
    """
    text = _plan_text(ask, arguments)
    refuse_beyond_words(arguments, words)
    pinned = with_pins(text, setup.registry, setup.workspace)
    plan = compile_plan(pinned, setup.registry, setup.workspace.artifacts.resolve)
    draft = _draft(text, plan, setup)
    return Proposal(
        plan, ask.text, draft=draft, is_typed=False, notes=tuple(_not_in_words(draft, plan, setup, words))
    )


def _plan_text(ask: Ask, arguments: Mapping[str, Any]) -> PlanText:
    _refuse_unknown(arguments, _TOP, "a plan")
    if _depth(arguments) > _DEEPEST:
        raise AskError("the plan nests deeper than any plan does.")
    steps = arguments.get("steps")
    if not isinstance(steps, list) or not steps:
        raise AskError("`steps` must be a list of at least one step.")
    body: dict[str, Any] = {}
    for place, step in enumerate(steps, 1):
        if not isinstance(step, Mapping):
            raise AskError(f"step {place} must be an object with id, skill and with.")
        _refuse_unknown(step, _STEP, f"step {place}")
        step_id = step.get("id") or step.get("skill")
        if not isinstance(step_id, str) or step_id in body:
            raise AskError(f"step {place} needs an `id` of its own.")
        if step.get("skill") == GATE_SKILL:
            raise AskError("a gate is no step of a plan: name it under `gates` and on the step it judges.")
        body[step_id] = {name: value for name, value in step.items() if name != "id" and value is not None}
    found = {
        "goal": one_line(ask.text)[:_GOAL],
        "steps": body,
        "gates": arguments.get("gates") or {},
        "budget": arguments.get("budget") or {},
    }
    return plan_text_of(YamlText(found, {}), "the plan", Path.cwd())


def refuse_beyond_words(value: Any, words: str) -> None:
    """AskError for a secret's name, an address or a path elsewhere that the person did not write."""
    for text in _texts(value):
        if leads_beyond(text, words):
            raise AskError(
                f"'{text[:120]}' stands in nothing that the person wrote: names of secrets, addresses and "
                "paths outside the project come from their words only. Leave it out, or ask them."
            )


def leads_beyond(text: str, words: str) -> bool:
    """Whether a text is a secret's name, an address or a path elsewhere that the words do not hold whole.

    A part of one counts as another: of models.example.com, models.example.co is somebody else's.
    """
    if not _leads_elsewhere(text):
        return False
    return re.search(_BEFORE + re.escape(text) + _AFTER, words) is None


def _leads_elsewhere(text: str) -> bool:
    is_path = text.startswith(("/", "~", "\\")) or ".." in text.replace("\\", "/").split("/")
    return "secret:" in text or "://" in text or is_path or text.lower().startswith(("file:", "data:"))


def _not_in_words(draft: Mapping[str, Any], plan: Plan, setup: PlannerSetup, words: str) -> Iterator[str]:
    """What whoever approves should look at: values of steps that serve, which the person did not write."""
    said = words.lower()
    for step in draft["steps"]:
        if setup.registry.get(step["skill"]).effect is not Effect.SERVES:
            continue
        for name, value in step["with"].items():
            is_made_here = isinstance(value, str) and value.startswith("${")
            shown = str(value)
            if not is_made_here and not isinstance(value, bool) and shown.lower() not in said:
                kind, _, digits = shown.partition(":")
                shown = f"{kind}:{digits[:12]}" if len(digits) == 64 else shown
                yield f"the model chose {name} {shown[:80]} of step {step['id']}; your words do not name it."


def _draft(text: PlanText, plan: Plan, setup: PlannerSetup) -> dict[str, Any]:
    """The plan as it is kept with the conversation: as it was written, with whole references."""
    steps = []
    for step in text.steps:
        compiled = plan.step(step.id)
        known = dict(compiled.arguments) if compiled is not None else {}
        defaults = setup.registry.get(step.skill).defaults
        given = {name: known.get(name, value) for name, value in step.arguments.items()}
        kept = {
            name: value for name, value in given.items() if name not in defaults or defaults[name] != value
        }
        gate = {"gate": step.gate} if step.gate else {}
        steps.append({"id": step.id, "skill": step.skill, "with": kept, **gate, "open": {}})
    return {"goal": text.goal, "steps": steps, "gates": dict(text.gates), "budget": dict(text.budget)}


def _refuse_unknown(found: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    for name in found:
        if name not in known:
            raise AskError(f"unknown '{str(name)[:60]}' in {what} (it holds: {', '.join(sorted(known))}).")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _depth(value: Any, most: int = _DEEPEST) -> int:
    if most < 0:
        return 1
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max((_depth(one, most - 1) for one in inner), default=0)
