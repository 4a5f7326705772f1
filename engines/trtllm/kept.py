"""What was quantised, kept by what it was made of, for later builds: whole, or not at all."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from ...core.errors import AskError
from ...core.files import sha256_path

_FILES, _DIGEST = "files", "sha256"


class QuantisedCache:
    """A quantised checkpoint under its key, with its files' digest; one that was changed is not taken."""

    def __init__(self, root: Path, key: str) -> None:
        self._place = root / key

    def find(self) -> Path | None:
        """The folder as it was kept; None when there is none, and a changed one is taken away first."""
        try:
            kept = (self._place / _DIGEST).read_text(encoding="ascii").strip()
            if sha256_path(self._place / _FILES) == kept:
                return self._place / _FILES
        except (OSError, UnicodeDecodeError, AskError):
            pass
        shutil.rmtree(self._place, ignore_errors=True)
        return None

    def keep(self, fresh: Path) -> None:
        """Copy a folder here, in one rename; where another build was first, its own stays."""
        stage = self._place.with_name(f".{self._place.name[:12]}-{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(fresh, stage / _FILES)
            (stage / _DIGEST).write_text(sha256_path(stage / _FILES) + "\n", encoding="ascii")
            if not self._place.exists():
                stage.rename(self._place)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
