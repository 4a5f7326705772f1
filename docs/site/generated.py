"""Reference pages that are made from the code: the command line, the settings, the Python interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from opswright.core.principal import os_user
from opswright.core.settings import Settings
from opswright.skills import load_registry
from opswright.ui.application import build_app
from opswright.ui.skill_commands import default_words, type_words

MODULES = {
    "Notebooks and scripts": ("opswright.ui.notebook.workspace", "opswright.ui.notebook.proposed",
                              "opswright.ui.notebook.running", "opswright.ui.notebook.skills"),
    "A skill": ("opswright.core.contract", "opswright.core.artifact_refs", "opswright.core.errors",
                "opswright.core.phrasing"),
    "A planner": ("opswright.agents.planner.base",),
    "Rows, suites and scorers": ("opswright.data.sample", "opswright.evals.scorers.base"),
    "An engine, a target": ("opswright.engines.base", "opswright.engines.registry"),
    "Compute": ("opswright.compute.job", "opswright.compute.backends"),
    "The record": ("opswright.record.ledger", "opswright.record.records"),
}  # fmt: skip


def command_line_page() -> str:
    """Every command with its options, as `--help` has them."""
    registry = load_registry()
    root: Any = typer.main.get_command(build_app(registry))
    context = root.make_context("opswright", ["status"], resilient_parsing=True)
    skills = {skill.name for skill in registry}
    lines = ["# The command line", "", "```text", root.help.replace("\b\n", "").strip(), "```", ""]
    lines += ["A sub-command for each skill: [skills](index.md).", ""]
    lines += _options(root, context)
    for name, command in sorted(root.commands.items()):
        if name not in skills or name in ("leaderboard",):
            lines += _command(f"opswright {name}", command)
    return "\n".join(lines)


def _command(path: str, command: Any) -> Iterator[str]:
    yield from (f"## {path}", "")
    about = (command.help or "").strip()
    head, _, example = about.partition("Example:")
    yield from (_paragraphs(head), "")
    if example:
        yield from ("```sh", example.strip(), "```", "")
    if hasattr(command, "commands"):
        for name, inner in sorted(command.commands.items()):
            yield from (line.replace("## ", "### ", 1) if line.startswith("## ") else line
                        for line in _command(f"{path} {name}", inner))  # fmt: skip
    else:
        yield from _options(command, None)


def _options(command: Any, context: Any) -> Iterator[str]:
    rows = []
    for one in command.params:
        if one.name in ("help", "install_completion", "show_completion") or getattr(one, "hidden", False):
            continue
        names = (
            ", ".join(f"`{name}`" for name in one.opts)
            if one.param_type_name == "option"
            else f"`{one.name.upper()}`"
        )
        rows.append(f"| {names} | {_cell(getattr(one, 'help', None) or '')} |")
    if rows:
        yield from ("| option | what it does |", "|---|---|", *rows, "")


def settings_page() -> str:
    """Every setting with its type, default, meaning, and its variable in the environment."""
    lines = [
        "# Settings", "",
        "One tree is the file `opswright.toml`, the environment and the flags; what is said later wins. A "
        "part's setting is a line under its `[heading]` in the file, and `OPSWRIGHT_PART__NAME` in the "
        "environment.", "",
    ]  # fmt: skip
    return "\n".join([*lines, *_part(Settings, ())])


def _part(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    parts, rows = [], []
    for name, field in model.model_fields.items():
        if (inner := _model_of(field)) is not None:
            parts.append((inner, (*path, name)))
        else:
            rows.append(_setting(name, field, path))
    heading = f"## [{'.'.join(path)}]" if path else "## At the top of the file"
    if rows:
        about = " ".join((model.__doc__ or "").split()) if path else ""
        yield from (
            heading,
            "",
            _cell(about),
            "",
            "| setting | type | default | meaning |",
            "|---|---|---|---|",
        )
        yield from (*rows, "")
    for inner, below in parts:
        yield from _part(inner, below)


def _setting(name: str, field: FieldInfo, path: tuple[str, ...]) -> str:
    default = _cell(default_words(field).removeprefix("default: "))
    default = "you" if default == os_user() else default  # of whoever makes the site
    here = os.getcwd()
    default = default.replace(here, ".") if here in default else default
    return f"| `{name}` | {_cell(type_words(field))} | {default} | {_cell(field.description or '')} |"


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def python_page() -> str:
    """The modules that notebooks, scripts and plug-ins import from, by autodoc."""
    lines = [
        "# Python", "",
        "What notebooks, scripts and packages of your own import. All else may change with any version.", "",
        "```python", "from opswright import Workspace", "```", "",
        "`Workspace` is `NotebookWorkspace`, below; [a notebook](notebooks/workspace.md) shows it.", "",
    ]  # fmt: skip
    for title, modules in MODULES.items():
        lines += [f"## {title}", ""]
        for module in modules:
            lines += [
                "```{eval-rst}",
                f".. automodule:: {module}",
                "   :members:",
                "   :exclude-members: model_config",
                "```",
                "",
            ]
    return "\n".join(lines)


def _paragraphs(text: str) -> str:
    return "\n\n".join(_cell(one) for one in text.split("\n\n"))


def _cell(text: str) -> str:
    """Text of the code as Markdown shows it, on one line."""
    plain = " ".join(text.split())
    parts = plain.split("`")
    kept = [part if at % 2 else _escape(part) for at, part in enumerate(parts)]
    return "`".join(kept).replace("|", "\\|")


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "*_<>[]{}$#" else c for c in text)
