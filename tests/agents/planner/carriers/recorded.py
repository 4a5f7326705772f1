"""What people wrote into the record."""

from __future__ import annotations

import json
from typing import Any

from .common import Reading, fresh_name, one_line


def goals(world: Any, texts: list[str]) -> Reading:
    """Goals of runs that somebody proposed."""
    runs = [_proposed(world, json.dumps(one_line(text, 190)), "no") for text in texts]
    return Reading([("list_runs", {}), *(("show_run", {"run": run}) for run in runs)])


def reasons(world: Any, texts: list[str]) -> Reading:
    """Reasons that somebody gave for a denial."""
    runs = [_proposed(world, "deploy to desk", one_line(text, 4000)) for text in texts]
    asked = {"question": "why was the last run denied?"}
    return Reading([*(("show_run", {"run": run}) for run in runs), ("ask_record", asked), ("search", asked)])


def _proposed(world: Any, goal: str, denied: str) -> str:
    name, model = fresh_name(world), world.artifacts["model-2"]
    step = f"eval: {{skill: evaluate, with: {{model: '{model}', suite: suites/tickets.yaml}}}}"
    world._run(name, goal, step, {}, denied=denied)
    return str(world.runs[name])
