"""What installed packages bring, by entry-point group; looked up without importing anything."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_HEADING = re.compile(r"^\[([^\]\n]+)\]", re.MULTILINE)


def entry_points_of(group: str) -> list[EntryPoint]:
    """What installed packages bring for a group; nothing is imported."""
    if not _any_package_brings(group):
        return []
    from importlib.metadata import entry_points

    return list(entry_points(group=group))


def _any_package_brings(group: str) -> bool:
    """Whether any entry_points.txt on the path names the group.

    A glance that takes milliseconds, so that `--help` need not wait 0.1 s for importlib.metadata to say no;
    it is taken again only where something was installed or removed since.
    """
    return any(group in _groups_in(folder or ".", _changed_ns(folder or ".")) for folder in sys.path)


def _changed_ns(folder: str) -> int:
    """When an entry of the folder was last added or removed; 0 for what is no folder."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=64)
def _groups_in(folder: str, changed_ns: int) -> frozenset[str]:
    """The groups that packages in a folder name; `changed_ns` tells one state of it from the next."""
    return frozenset(
        group
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt")
        for file in Path(folder).glob(pattern)
        for group in _HEADING.findall(file.read_text(encoding="utf-8", errors="replace"))
    )
