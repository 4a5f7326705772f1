"""SKILL.md, as agentskills.io has it: YAML front matter of six keys, then Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import AskError, did_you_mean
from ...core.files import read_at_most
from ...core.strict_yaml import MAX_BYTES, parse_yaml
from ...core.text import unseen_in

KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
PLAN_KEY = "opswright-plan"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MOST_NAME, _MOST_DESCRIPTION = 64, 1024
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class SkillFile:
    """What a SKILL.md says; `plan` is the plan file's name in the same folder, where it has one."""

    name: str
    description: str
    metadata: Mapping[str, str]
    body: str

    @property
    def plan(self) -> str | None:
        """The plan file that is named under `metadata`."""
        return self.metadata.get(PLAN_KEY)


def read_skill_file(folder: Path) -> SkillFile:
    """The SKILL.md of a folder; AskError for one that the public validator would refuse."""
    path = folder / "SKILL.md"
    try:
        text = read_at_most(path, MAX_BYTES, "SKILL.md").decode("utf-8")
    except OSError as error:
        raise AskError(
            f"cannot read {path}: {error.strerror}. A skill is a folder with a SKILL.md."
        ) from error
    except UnicodeDecodeError as error:
        raise AskError(f"{path} is not UTF-8 text: {error}.") from error
    parts = _FRONT.match(text)
    if parts is None:
        raise AskError(f"{path} must begin with YAML between two lines of `---`.")
    front = parse_yaml(parts[1], f"{path.name} of {folder.name}").data
    return _checked(front, folder, parts[2])


def _checked(front: Any, folder: Path, body: str) -> SkillFile:
    where = f"SKILL.md of {folder.name}"
    if not isinstance(front, dict):
        raise AskError(f"{where}: the front matter must be a mapping of names to values.")
    for key in front:
        if key not in KEYS:
            raise AskError(
                f"{where}: unknown key '{key}' (known: {', '.join(KEYS)}; others go under metadata)."
                + did_you_mean(str(key), KEYS)
            )
    name, description = front.get("name"), front.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _MOST_NAME:
        raise AskError(f"{where}: `name` must be 1 to 64 lower-case letters, digits and single hyphens.")
    if name != folder.name:
        raise AskError(f"{where}: `name` is '{name}', but the folder is '{folder.name}': they must be equal.")
    if not isinstance(description, str) or not 0 < len(description.strip()) <= _MOST_DESCRIPTION:
        raise AskError(f"{where}: `description` must be 1 to {_MOST_DESCRIPTION:,} characters.")
    if unseen := unseen_in(description.replace("\n", " ")):
        raise AskError(f"{where}: the description holds {unseen}, which shows nothing or moves text.")
    metadata = front.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(one, str) for one in metadata.values()):
        raise AskError(f"{where}: `metadata` must be a mapping of names to text.")
    return SkillFile(name, " ".join(description.split()), metadata, body)
