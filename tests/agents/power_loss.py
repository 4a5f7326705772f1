"""A disk that forgets what was not flushed: names need their folder's fsync, contents their file's.

`Disk.watch` replaces os.fsync in this process and keeps, beside the watched folder, what each call made last.
`Disk.cut` then leaves of the folder only that, as a power cut may. Folders last as soon as they are made, as
with journaling file systems. What C libraries flush (SQLite's files) is not seen, and is lost.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path


class Disk:
    """The durable image of a folder; `image` is a folder beside it, on the same file system."""

    def __init__(self, root: Path, image: Path) -> None:
        self.root, self.image = root.resolve(), image.resolve()

    def watch(self) -> None:
        """Follow every fsync of this process from now on, instead of doing it."""
        self.image.mkdir(parents=True, exist_ok=True)
        os.fsync = self._fsync  # type: ignore[assignment]

    def _fsync(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if not path.is_relative_to(self.root):
            return
        inode = os.fstat(handle).st_ino
        fresh = self.image / "fresh"
        if path.is_dir():
            names = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}
            fresh.write_text(json.dumps(names))
            fresh.replace(self.image / f"{inode}.names")
            return
        with suppress(FileExistsError):  # a link keeps the inode from being given to another file
            os.link(path, self.image / f"{inode}.pin")
        shutil.copyfile(path, fresh)
        fresh.replace(self.image / f"{inode}.content")

    def cut(self) -> None:
        """Cut the power: what was not flushed is gone."""
        for folder in [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]:
            kept = self.image / f"{folder.stat().st_ino}.names"
            names = json.loads(kept.read_text()) if kept.exists() else {}
            for path in [path for path in folder.iterdir() if path.is_file()]:
                path.unlink()
            for name, inode in names.items():
                content = self.image / f"{inode}.content"
                if content.exists():
                    shutil.copyfile(content, folder / name)
                else:
                    (folder / name).touch()
