"""A base from a model hub, `hf:owner/name@commit`: named, found and downloaded by huggingface_hub.

The commit is part of the name, so a plan's id says which weights it means; the files' digest is recorded.
"""

from __future__ import annotations

import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ...core.errors import AskError
from ...core.workspace import Workspace
from ...data.hub import COMMIT, TIMEOUT_S, hub_errors

_NAME = re.compile(r"hf:([\w][\w.-]*/[\w][\w.-]*)(?:@([\w./-]+))?")
# Weights as safetensors alone, and what a tokenizer and a config need; never code or pickles.
_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt")
_NOT_WANTED = ("*/*", "consolidated*.safetensors")


class HubModel(str):
    """A model of a hub: `hf:owner/name@` and the 40 hex digits of a commit."""

    @property
    def repository(self) -> str:
        """owner/name."""
        return self._match(self)[1]

    @property
    def revision(self) -> str:
        """The commit, a branch or a tag; `main` where none is named."""
        return self._match(self)[2] or "main"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which always means the same files."""
        return COMMIT.fullmatch(self.revision) is not None

    @staticmethod
    def _match(text: str) -> re.Match[str]:
        found = _NAME.fullmatch(text)
        if found is None or ".." in text:
            raise ValueError(f"invalid model '{text[:80]}': expected hf:owner/name@commit")
        return found

    @classmethod
    def checked(cls, value: str) -> HubModel:
        """The model of a text; ValueError for one that names none."""
        cls._match(value)
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls.checked, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


@dataclass(frozen=True)
class HubFiles:
    """What a hub has of a model: the commit, and the bytes of what would be downloaded."""

    commit: str
    size_bytes: int


def downloaded(model: HubModel, workspace: Workspace) -> Path | None:
    """The folder of a model that was downloaded whole; None when it is not here."""
    folder = _folder(model, workspace)
    return folder if _mark(folder).is_file() else None


def look_up(model: HubModel) -> HubFiles:
    """What the hub has of a model, without downloading it.

    Raises AskError for a model or revision that it does not have, one without safetensors, and a revision
    that is not a commit (naming the commit it is now); NeedsError when the hub cannot be reached.
    """
    from fnmatch import fnmatch

    api = _api()
    with _in_words(model, str(api.endpoint)):
        info = api.model_info(
            model.repository, revision=model.revision, files_metadata=True, timeout=TIMEOUT_S
        )
    commit = str(info.sha)
    if not model.is_pinned:
        raise AskError(
            f"base '{model}' names no commit, so what it means can change. Now it is "
            f"hf:{model.repository}@{commit}: write that."
        )
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = {
        name: size
        for name, size in files.items()
        if any(fnmatch(name, one) for one in _WANTED) and not any(fnmatch(name, one) for one in _NOT_WANTED)
    }
    if not any(name.endswith(".safetensors") for name in wanted):
        raise AskError(
            f"base '{model}' has no *.safetensors weights; pickles are not loaded. It has: {_few(files)}."
        )
    return HubFiles(commit, sum(wanted.values()))


def download(model: HubModel, workspace: Workspace) -> Path:
    """The folder of a model, downloaded once; errors as of `look_up`."""
    if found := downloaded(model, workspace):
        return found
    look_up(model)
    from huggingface_hub import snapshot_download

    folder = _folder(model, workspace)
    with workspace.lock(f"hub-{folder.name}"[:100]), _in_words(model, str(_api().endpoint)):
        if found := downloaded(model, workspace):
            return found
        snapshot_download(
            model.repository,
            revision=model.revision,
            local_dir=folder,
            allow_patterns=list(_WANTED),
            ignore_patterns=list(_NOT_WANTED),
        )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the downloader's own notes: times, not content
        _mark(folder).touch()
    return folder


def _folder(model: HubModel, workspace: Workspace) -> Path:
    return workspace.root / "hub" / f"{model.repository.replace('/', '--')}@{model.revision}"


def _mark(folder: Path) -> Path:
    """A file beside the folder, there once all of it is."""
    return folder.with_name(f"{folder.name}.complete")


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _in_words(model: HubModel, endpoint: str) -> AbstractContextManager[None]:
    name = f"base '{model}'"
    return hub_errors(name, model.repository, model.revision, endpoint, "a local folder as base")


def _few(files: Any) -> str:
    names = sorted(files)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
