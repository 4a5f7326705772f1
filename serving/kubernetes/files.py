"""Manifests as YAML files: written whole, and compared with what was written before."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...core.files import write_atomically
from ...core.workspace import Workspace
from .objects import Manifest


class _Dumper(yaml.SafeDumper):
    """YAML as a person reads it: texts of several lines as such, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Each file's text, by its name."""
    return {
        name: yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for name, one in manifests.items()
    }


def written_folder(workspace: Workspace, endpoint: str) -> Path:
    """Where the manifests that were written last for an endpoint lie, for kubectl or a repository."""
    return workspace.root / "kubernetes" / endpoint


def read_texts(folder: Path) -> dict[str, str]:
    """What the folder's YAML files hold, by name; nothing where there is none."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A unified diff of two sets of files, by kind of object: their numbers may have shifted."""
    old, new = ({_kind(name): text for name, text in texts.items()} for texts in (before, after))
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, ""), new.get(name, "")
        where = (f"before/{name}", f"after/{name}")
        lines += difflib.unified_diff(was.splitlines(), now.splitlines(), *where, lineterm="", n=2)
    return lines


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Make the folder's YAML files these, and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    for path in folder.glob("*.yaml"):
        if path.name not in texts:
            path.unlink(missing_ok=True)


def _kind(name: str) -> str:
    """A file's name without its number."""
    return name.partition("-")[2]
