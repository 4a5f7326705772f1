"""The reference: a page for each skill, made from its declaration."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..core.contract import Skill
from ..core.files import write_atomically
from ..core.registry import Registry
from ..engines.registry import EngineTarget, built_in_targets
from .skill_commands import as_command_line, default_words, type_words

_MADE = "<!-- Made by `opswright skills --reference docs/reference`; do not edit. -->"
_SUGGESTED = "The chat suggests this command for sentences such as:"


def write_reference(registry: Registry, folder: Path, *, check_only: bool = False) -> list[str]:
    """Write the pages that differ from the code, and give their names; with `check_only` write none."""
    pages = {f"{skill.name}.md": skill_page(skill) for skill in registry}
    pages["README.md"] = index_page(registry)
    pages["targets.md"] = targets_page(built_in_targets())
    stale = [n for n, text in pages.items() if not (folder / n).exists() or (folder / n).read_text() != text]
    stale += [path.name for path in folder.glob("*.md") if path.name not in pages]
    if not check_only:
        for name in stale:
            if name in pages:
                write_atomically(folder / name, pages[name].encode())
            else:
                (folder / name).unlink()
    return stale


def index_page(registry: Registry) -> str:
    """The list of skills."""
    rows = "\n".join(f"| [{s.name}]({s.name}.md) | {s.effect} | {s.summary} |" for s in registry)
    return (
        f"{_MADE}\n# Skills\n\nEach is a slash command, a sub-command, a step of a plan and a JSON schema, "
        "all from one declaration. What engines are built: [targets](targets.md).\n\n"
        f"| skill | effect | what it does |\n|---|---|---|\n{rows}\n"
    )


def targets_page(targets: Sequence[EngineTarget]) -> str:
    """The engine targets, each with what a build may be told besides."""
    parts = []
    for target in targets:
        options = _fields(target.options, defaults=True) if target.options.model_fields else "No options.\n"
        parts.append(f"## {target.name}\n\n{target.summary}.\n\n{options}")
    about = "What `build-engine` makes of a checkpoint, and the `options` that each target takes."
    return f"{_MADE}\n# Engine targets\n\n{about}\n\n" + "\n".join(parts)


def skill_page(skill: Skill[Any, Any]) -> str:
    """A skill's page: what it does, an example, request, result and JSON schema."""
    about = inspect.getdoc(skill.function) or ""
    about = "\n".join(line for line in about.splitlines() if not line.strip().startswith("Example:")).strip()
    phrases = "".join(f"- {phrase}\n" for phrase in skill.phrases)
    schema = json.dumps(skill.schema(), indent=2, ensure_ascii=False, sort_keys=True)
    return (
        f"{_MADE}\n# {skill.name}\n\n{skill.summary}\n\n{about}\n\n"
        f"Effect: **{skill.effect}**, it {skill.effect.in_words}.\n\n"
        f"```\n{skill.example}\n{as_command_line(skill.example)}\n```\n\n"
        f"## Request\n\n{_fields(skill.request, defaults=True)}\n"
        f"## Result\n\n{_fields(skill.result, defaults=False)}\n"
        + (f"## Sentences\n\n{_SUGGESTED}\n\n{phrases}\n" if phrases else "")
        + f"## JSON schema of the request\n\n```json\n{schema}\n```\n"
    )


def _fields(model: type[BaseModel], *, defaults: bool) -> str:
    head = "| name | type | meaning |\n|---|---|---|\n"
    if defaults:
        head = "| name | type | default | meaning |\n|---|---|---|---|\n"
    rows = ""
    for name, field in model.model_fields.items():
        kind = type_words(field).replace("|", "\\|")
        default = f" {default_words(field).removeprefix('default: ')} |" if defaults else ""
        rows += f"| `{name}` | {kind} |{default} {field.description or ''} |\n"
    return head + rows
