"""Every command that a message, a help text or a page quotes can be typed as it stands there."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import opswright
from opswright.agents.planner.slash import SlashPlanner
from opswright.core.artifact_refs import REF_TYPES
from opswright.core.errors import OpswrightError
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills import load_registry
from opswright.ui.application import build_app
from opswright.ui.board_commands import COMMANDS
from opswright.ui.console.chat.builtin_commands import make_commands
from opswright.ui.console.chat.commands import Commands
from opswright.ui.console.chat.run_service import RunService
from opswright.ui.console.console import Console
from opswright.ui.console.pages.mlflow_pages import MlflowPages
from opswright.ui.deploy_to import routed
from opswright.ui.skill_commands import named_words

ROOT = Path(opswright.__file__).parent
NOT_PRODUCT = {"tests", "benchmarks", "docs", "examples", "build"}
ELIDED = "..."
HOLE = "1"  # stands for a value that is only known when a message is made

IN_TICKS = re.compile(r"`(opswright [a-z][^`]*)`")
ON_A_LINE = re.compile(r"(?:^[ *#-]*|: |\| |\$\()(opswright [a-z][^`\n]*)", re.MULTILINE)
ENDS = re.compile(r"\s{2,}|\s#|\s\||\s>\s|\)\"|\)$|\\n")
VARIABLE = re.compile(r"\$[a-z_]+")  # of the shell, as a tutorial sets it
DECLARED = re.compile(r"^@skill\(.*\)\n(?:async )?def ([a-z_]+)\(", re.MULTILINE)
SLASH_IN_TICKS = re.compile(r"`(/[a-z][a-z-]*(?: [^`]*)?)`")
SLASH_EXAMPLE = re.compile(r"Example: (/[^\n]*)")
SLASH_IN_CONSOLE = re.compile(
    r"(?:^|(?<=[\s(\"'>]))(/[a-z-]+(?: (?:[A-Z]+|[a-z_]+=\S+)(?![a-z]))*)(?=[\s.,\"'<]|$)"
)
NO_COMMANDS = {"/metrics", "/healthz", "/readyz", "/generate"}  # addresses of the gateway and of Triton


@dataclass(frozen=True)
class Quoted:
    """A command as a text has it, and where that is."""

    text: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def product_files(*endings: str) -> list[Path]:
    folders = [f for f in ROOT.iterdir() if (f / "__init__.py").exists() and f.name not in NOT_PRODUCT]
    return sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in endings)


def pages() -> list[Path]:
    """What people read beside the code."""
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    for folder in (ROOT / "docs", ROOT / "examples"):
        found += [path for path in folder.rglob("*") if path.suffix in (".md", ".yaml")]
    return sorted(found)


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Each string of a Python file with its line; what an f-string fills in is a hole."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            words = [str(p.value) if isinstance(p, ast.Constant) else HOLE for p in node.values]
            yield node.lineno, "".join(words)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


@cache
def texts() -> list[tuple[str, str]]:
    """Every text that people may read, with its place."""
    of_code = [(path, line, text) for path in product_files(".py") for line, text in strings(path)]
    others = [*pages(), *product_files(".html", ".js")]
    return [(f"{path.relative_to(ROOT)}:{line}", text) for path, line, text in of_code] + [
        (str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in others
    ]


def declared() -> set[str]:
    """Skills that a page shows how to write; what is typed for them is run by the tests of tutorials."""
    found = DECLARED.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    return {name.replace("_", "-") for name in found}


def shell_commands() -> list[Quoted]:
    found = []
    for where, text in texts():
        found += [Quoted(" ".join(match[1].split()), where) for match in IN_TICKS.finditer(text)]
        for match in ON_A_LINE.finditer(IN_TICKS.sub("", text)):
            command = ENDS.split(match[1])[0].rstrip(" .,;")
            is_a_name = match[1] == text or command.split()[1].endswith(":")  # "opswright demo: went wrong"
            if not is_a_name:
                found.append(Quoted(command, where))
    return [one for one in found if one.text.split()[1] not in declared()]


def slash_commands() -> list[Quoted]:
    found = []
    for where, text in texts():
        patterns = [SLASH_IN_TICKS, SLASH_EXAMPLE]
        if where.startswith("ui/console/chat") and where.endswith("py"):
            patterns.append(SLASH_IN_CONSOLE)
        matches = [match[1].strip("`") for pattern in patterns for match in pattern.finditer(text)]
        found += [Quoted(" ".join(text.split()), where) for text in matches if text not in NO_COMMANDS]
    return [one for one in found if one.text.split()[0].removeprefix("/") not in declared()]


def variants(command: str) -> list[list[str]]:
    """The words of a command, once for each of its alternatives, with its holes filled."""
    command = VARIABLE.sub("ONE", re.sub(r"<[^<>]*>|\"\.\.\.\"", HOLE, command))
    words = shlex.split(command.replace("[", "").replace("]", ""))
    choices = [word.split("|") if re.fullmatch(r"[a-zA-Z|-]+", word) else [word] for word in words]
    return [
        [HOLE if re.fullmatch(r"[A-Z][A-Z_:]*", word) else word for word in one]
        for one in itertools.product(*choices)
    ]


def filled(annotation: Any, value: str) -> str:
    """A value of a skill's argument with what it leaves open filled in."""
    if value.count(":") > 1 and "," in value:  # a list of references
        return ",".join(filled(annotation, part) for part in value.split(","))
    kinds = [kind for kind in REF_TYPES if f"'{kind}'" in str(annotation) or _takes(annotation, kind)]
    value = HOLE if re.fullmatch(r"[A-Z]*", value) else value
    kind, _, digest = value.partition(":")
    if kind in REF_TYPES and len(digest) < 64:
        return f"{kind}:{digest.replace('.', '').ljust(64, '0')}"
    return f"{kinds[0]}:{'0' * 64}" if value == HOLE and kinds else value


def _takes(annotation: Any, kind: str) -> bool:
    from typing import get_args

    return getattr(annotation, "kind", None) == kind or any(_takes(a, kind) for a in get_args(annotation))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def commands(registry: Registry, tmp_path: Path) -> Commands:
    """The chat's commands, on an empty workspace."""
    console = Console(registry, load_settings(home=tmp_path / ".opswright"))
    return make_commands(console, RunService(console), MlflowPages(console.workspace))


def check_skill(registry: Registry, workspace: Workspace, name: str, values: dict[str, str]) -> None:
    """OpswrightError when a skill does not take the values, or needs others."""
    fields = registry.get(name).request.model_fields
    words = [
        shlex.quote(f"{key}={filled(fields[key].annotation, value) if key in fields else value}")
        for key, value in values.items()
    ]
    skill, arguments = SlashPlanner(registry, workspace).parse(" ".join([f"/{name}", *words]))
    skill.parse(arguments)


def check_shell(command: Any, registry: Registry, workspace: Workspace, words: list[str]) -> None:
    """What the shell's parser raises when it does not take the words; nothing is run."""
    words = routed(words)
    if words[-1] == "--help":
        assert words[1] in registry, words
        return
    context = command.make_context("opswright", words[1:])
    while hasattr(command, "resolve_command"):
        left = [*context._protected_args, *context.args]
        if not left and command.invoke_without_command:
            return  # a group that does something by itself
        name, command, rest = command.resolve_command(context, left)
        if hasattr(command, "resolve_command") and not rest:
            return  # a group by its name
        context = command.make_context(name, rest, parent=context)
    is_of_a_group = context.parent is not None and context.parent.parent is not None
    if is_of_a_group or context.info_name in COMMANDS or ELIDED in words:
        return
    if context.info_name in registry:
        skill = registry.get(context.info_name)
        given = {k: v for k, v in context.params.items() if k in skill.request.model_fields and v is not None}
        check_skill(registry, workspace, skill.name, given | named_words(skill, context.args, given))


def check_slash(commands: Commands, registry: Registry, workspace: Workspace, words: list[str]) -> None:
    name = words[0].removeprefix("/")
    if (command := commands.builtin.get(name)) is not None:
        given = len(words) - 1
        if given and not command.least <= given <= command.most:
            raise OpswrightError(f"/{name} is {command.usage}")
        return
    if len(words) == 1 and name in registry:
        return  # its name, which the chat completes
    check_skill(registry, workspace, name, named_words(registry.get(name), words[1:]))


def test_every_quoted_shell_command_is_one(registry: Registry, tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / ".opswright"))
    command, found, wrong = typer.main.get_command(build_app(registry)), shell_commands(), []
    for quoted in found:
        try:
            for words in variants(quoted.text):
                check_shell(command, registry, workspace, words)
        except Exception as error:
            wrong.append(f"{quoted}\n    {error}")
    assert wrong == [], "\n".join(["", *wrong, f"{len(wrong)} of {len(found)}"])
    assert len(found) > 100


def test_every_quoted_slash_command_is_one(registry: Registry, commands: Commands, tmp_path: Path) -> None:
    workspace = Workspace(load_settings(home=tmp_path / ".opswright"))
    found, wrong = slash_commands(), []
    for quoted in found:
        try:
            for words in variants(quoted.text):
                check_slash(commands, registry, workspace, words)
        except Exception as error:
            wrong.append(f"{quoted}\n    {error}")
    assert wrong == [], "\n".join(["", *wrong, f"{len(wrong)} of {len(found)}"])
    assert len(found) > 30
