"""What installed packages bring, by entry-point group; looked up without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points_of(group: str) -> list[EntryPoint]:
    """What installed packages bring for a group; nothing is imported."""
    if not _any_package_brings(group):
        return []
    from importlib.metadata import entry_points

    return list(entry_points(group=group))


def _any_package_brings(group: str) -> bool:
    """Whether any entry_points.txt on the path names the group.

    A glance that takes milliseconds, so that `--help` need not wait 0.1 s for importlib.metadata to say no.
    """
    heading = f"[{group}]".encode()
    return any(
        heading in file.read_bytes()
        for folder in dict.fromkeys(sys.path)
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt")
        for file in Path(folder or ".").glob(pattern)
    )
