"""Which project skills there are: those that somebody added, each as it was then and no byte else.

Adding a folder is an act of trust by the workspace's owner. A folder that somebody else may write to, that
changed since, or whose signature does not verify, gives no skill.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...core.errors import AskError, IntegrityError, did_you_mean
from ...core.files import files_below, sha256_file, sha256_json
from ...core.private_file import PrivateFile
from ...core.registry import Registry
from ...core.strict_yaml import read_yaml
from ...core.workspace import Workspace
from .inputs import read_inputs
from .project_skill import ProjectSkill
from .signature import signature_beside, verify_signature
from .skill_file import PLAN_KEY, SkillFile, read_skill_file

# What a slash already means in a chat: a plan of that name would pass for it.
# fmt: off
CHAT_COMMANDS = frozenset((
    "plan", "apply", "approve", "deny", "resume", "stop", "show", "runs", "help", "skills", "status", "live",
    "audit", "doctor", "mlflow",
))
# fmt: on
_MOST_FILES, _MOST_BYTES = 1_000, 64 << 20


class AddedSkill(BaseModel):
    """A skill as it was added. `digest`: of every file of the folder then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Added(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    skills: dict[str, AddedSkill]


class ProjectSkills:
    """The project skills of one workspace."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace = workspace
        self._registry = registry
        self._file = PrivateFile(
            workspace.root / "project-skills.json",
            "list of project skills",
            "opswright skills add FOLDER",
            _Added.model_validate_json,
        )

    def added(self) -> dict[str, AddedSkill]:
        """What was added, by name. AskError when the list cannot be read or trusted."""
        return dict(self._file.read().skills) if self._file.path.exists() else {}

    def __contains__(self, name: object) -> bool:
        """Whether a skill of that name was added."""
        return name in self.added()

    def __iter__(self) -> Iterator[ProjectSkill]:
        """Each skill that is still what was added; others are left out, and refused when they are called."""
        for name in self.added():
            try:
                yield self.load(name)
            except (AskError, IntegrityError):
                continue

    def add(self, folder: Path) -> ProjectSkill:
        """Trust a folder as it is now. AskError for what is no skill, IntegrityError for a bad signature."""
        folder = folder.resolve()
        file = read_skill_file(folder)
        if file.name in self._registry or file.name in CHAT_COMMANDS:
            raise AskError(
                f"a built-in skill or command is named '{file.name}'; rename the folder and its `name`."
            )
        digest = folder_digest(folder)
        skill = self._loaded(AddedSkill(name=file.name, folder=folder.as_posix(), digest=digest))
        with self._workspace.lock("project-skills"):
            known = self.added()
            known[file.name] = AddedSkill(name=file.name, folder=folder.as_posix(), digest=digest)
            self._write(known)
        return skill

    def remove(self, name: str) -> None:
        """Trust a skill no more; AskError for one that was never added."""
        with self._workspace.lock("project-skills"):
            known = self.added()
            if name not in known:
                raise AskError(f"no project skill '{name[:80]}' was added.{did_you_mean(name, known)}")
            del known[name]
            self._write(known)

    def load(self, name: str) -> ProjectSkill:
        """The skill of that name, verified. IntegrityError when it is not what was added or not signed."""
        known = self.added()
        if name not in known:
            raise AskError(f"no project skill '{name[:80]}' was added.{did_you_mean(name, known)}")
        return self._loaded(known[name])

    def _loaded(self, added: AddedSkill) -> ProjectSkill:
        folder = Path(added.folder)
        refuse_open_folder(folder)
        signed_by = self._signed_by(folder)
        if (found := folder_digest(folder)) != added.digest:
            raise IntegrityError(
                f"project skill '{added.name}' changed since it was added ({added.digest[:12]} -> "
                f"{found[:12]}). Look at what changed in {folder}, then `opswright skills add {folder}`."
            )
        file = read_skill_file(folder)
        text = read_yaml(plan_path(folder, file), "plan file")
        if not isinstance(text.data, dict):
            raise AskError(f"{file.plan} of {file.name} is no plan: expected a mapping with goal and steps.")
        declared = text.data.get("inputs")
        skill = ProjectSkill(
            file=file,
            folder=folder,
            digest=added.digest,
            signed_by=signed_by,
            text=text,
            inputs=read_inputs(declared, f"{file.plan} of {file.name}"),
            workspace=self._workspace,
            registry=self._registry,
        )
        _ = skill.effect  # what changes something passes for nothing less
        if folder_digest(folder) != added.digest:  # between the digest above and the reading
            raise IntegrityError(f"project skill '{added.name}' changed while it was read.")
        return skill

    def _signed_by(self, folder: Path) -> str | None:
        """The key's digest where the folder is signed; IntegrityError when it must be and is not."""
        settings = self._workspace.settings.project_skills
        signature = signature_beside(folder)
        if signature is None and not settings.require_signature:
            return None
        if settings.public_key is None:
            raise IntegrityError(
                f"project skill '{folder.name}' {'is signed' if signature else 'must be signed'}, and no key "
                "verifies it: set `public_key` in [project_skills] of opswright.toml."
            )
        if signature is None:
            raise IntegrityError(
                f"project skill '{folder.name}' is not signed (no {folder.name}.sig beside its folder), and "
                "`require_signature` is set."
            )
        return verify_signature(folder, signature, settings.public_key)

    def _write(self, skills: dict[str, AddedSkill]) -> None:
        plain = _Added(skills=skills).model_dump(mode="json")
        self._file.write((json.dumps(plain, indent=2) + "\n").encode())


def plan_path(folder: Path, file: SkillFile) -> Path:
    """The plan file of a skill, which lies in its folder; AskError for one without."""
    if file.plan is None:
        raise AskError(f"SKILL.md of {file.name} names no plan: add `{PLAN_KEY}: plan.yaml` under metadata.")
    path = folder / file.plan
    if not path.resolve().is_relative_to(folder.resolve()):
        raise AskError(f"the plan of {file.name}, {file.plan!r}, lies outside its folder.")
    return path


def folder_digest(folder: Path) -> str:
    """SHA-256 of every file's path and content below a folder; AskError for one too large for a skill."""
    files = files_below(folder)
    size = sum(path.stat().st_size for path in files.values())
    if len(files) > _MOST_FILES or size > _MOST_BYTES:
        raise AskError(f"{folder} has {len(files):,} files, {size:,} bytes: too large for a skill.")
    return sha256_json({name: sha256_file(path) for name, path in files.items()})


def refuse_open_folder(folder: Path) -> None:
    """IntegrityError for a folder, or anything in it or above it, that somebody else may change."""
    if not folder.is_dir():
        raise AskError(
            f"no folder {folder}. It was moved or removed; `opswright skills remove {folder.name}`."
        )
    inside = [Path(root) / name for root, folders, files in os.walk(folder) for name in (*folders, *files)]
    for path in (folder, *folder.parents, *inside):
        found = path.lstat()
        is_shared_above = path in folder.parents and found.st_mode & stat.S_ISVTX  # /tmp: nobody renames ours
        if stat.S_ISLNK(found.st_mode):
            continue  # its target is judged by the digest
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise IntegrityError(f"{path} is no file and no folder: nothing else is part of a skill.")
        if found.st_uid not in (os.geteuid(), 0):
            raise IntegrityError(f"{path} belongs to user id {found.st_uid}: a skill must be yours.")
        writable = stat.S_IWOTH if path in folder.parents else stat.S_IWOTH | stat.S_IWGRP
        if found.st_mode & writable and not is_shared_above:
            raise IntegrityError(
                f"{path} can be changed by others (mode {stat.S_IMODE(found.st_mode):04o}): "
                f"chmod go-w {path}, and look at what is in it."
            )
