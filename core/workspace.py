"""The workspace: the folder that holds all state, and where each kind of it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .artifacts import ArtifactStore
from .errors import AskError
from .files import make_private

if TYPE_CHECKING:
    from .settings import Settings


class Workspace:
    """One workspace and its stores. Several processes may create and use the same one at once.

    make: whether its folder is made now, and not by what is first written there. Those in it are made then.
    Raises AskError for a place where a file lies.
    """

    def __init__(self, settings: Settings, *, make: bool = True) -> None:
        self.settings = settings
        self.root = settings.home.resolve()
        if self.root.is_file():
            raise AskError(
                f"the workspace {self.root} is a file: name a folder with --home or OPSWRIGHT_HOME."
            )
        if make:
            self.root.mkdir(parents=True, exist_ok=True)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Immutable things by digest."""
        return ArtifactStore(self.root / "artifacts")

    @property
    def plans(self) -> Path:
        """Canonical plans, `<plan id>.json`."""
        return self._private_folder("plans")

    @property
    def receipts(self) -> Path:
        """What finished steps gave, by receipt key."""
        return self._private_folder("receipts")

    @property
    def endpoints(self) -> Path:
        """Desired state, traffic and history of each endpoint, a folder an endpoint."""
        return self.root / "endpoints"

    @property
    def reports(self) -> Path:
        """Pages for people: HTML and plots."""
        return self._folder("reports")

    @property
    def logs(self) -> Path:
        """Logs of workers and servers."""
        return self._private_folder("logs")

    def run_folder(self, run_id: str) -> Path:
        """Where a run keeps its lock and the work folders of its steps."""
        return self._private_folder("runs") / run_id

    def is_held(self, run_id: str) -> bool:
        """Whether some process is carrying the run out right now."""
        from filelock import FileLock, Timeout

        path = self.run_folder(run_id) / "lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a workspace that is only read
            return False

    @property
    def checkpoints(self) -> Path:
        """The agent's checkpoint database, which only its owner may read."""
        path = self.root / "checkpoints.sqlite"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            make_private(path)
        return path

    @contextmanager
    def lock(self, name: str, timeout_s: float = 60) -> Iterator[None]:
        """Hold a named lock of this workspace across processes; filelock.Timeout when another keeps it."""
        from filelock import FileLock

        with FileLock(self._private_folder("locks") / f"{name}.lock", timeout=timeout_s):
            yield

    def _private_folder(self, name: str) -> Path:
        """A folder that is its owner's alone once it is made here: it holds what was asked."""
        folder = self.root / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name == "locks" and folder.stat().st_mode & 0o077:  # who may open a lock's file may hold it
            folder.chmod(0o700)
        return folder

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
