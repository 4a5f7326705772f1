"""Slash commands of project skills, named as their folders are."""

from __future__ import annotations

import shlex

from ...core.errors import AskError
from ...core.registry import Registry
from ...core.workspace import Workspace
from ..planner import Proposal
from .store import ProjectSkills


def project_proposal(text: str, workspace: Workspace, registry: Registry) -> Proposal | None:
    """The plan of a command that names a project skill; None for any other text."""
    name = text.strip().partition(" ")[0].removeprefix("/")
    if not text.strip().startswith("/") or name in registry or name not in ProjectSkills(workspace, registry):
        return None
    try:
        words = shlex.split(text.strip())[1:]
    except ValueError as error:
        raise AskError(f"cannot read {text.strip()!r}: {error}. Quote values that hold spaces.") from error
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value.strip():
            raise AskError(f"/{name}: '{word[:80]}' is not name=value.")
        if key in given:
            raise AskError(f"/{name}: '{key}' is given twice.")
        given[key] = value
    return ProjectSkills(workspace, registry).load(name).proposal(given)
