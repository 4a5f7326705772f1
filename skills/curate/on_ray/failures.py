"""What goes wrong on a cluster, told in the project's own families of errors."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

from ....core.errors import AskError, BackendError, IntegrityError, NeedsError, OpswrightError
from ....core.files import write_atomically

FAILURE = "failure.json"
_FAMILIES: dict[str, type[OpswrightError]] = {
    kind.__name__: kind for kind in (AskError, NeedsError, BackendError, IntegrityError)
}
_LOST = frozenset(
    (
        *("NodeDiedError", "ActorDiedError", "ActorUnavailableError", "RayActorError", "OwnerDiedError"),
        *("ObjectLostError", "ObjectReconstructionFailedError", "ObjectFetchTimedOutError"),
        "WorkerCrashedError",
    )
)


def explained(error: BaseException) -> OpswrightError:
    """The member of the family that says what to do; what is unknown keeps its last words."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, OpswrightError):
            return one
    names, said = [type(one).__name__ for one in chain], str(chain[-1])
    if "OutOfMemoryError" in names or "MemoryError" in names:
        return BackendError(
            "a worker ran out of memory. Lower compute.ray.rows_a_part, or memory_mb; what is done is kept."
        )
    if any("ersion mismatch" in str(one) for one in chain):
        return NeedsError(
            f"the cluster runs another Ray or Python than this environment: {_last_line(said)}. Install "
            "requirements-ray.txt on every node."
        )
    if "ConnectionError" in names or "RaySystemError" in names or "TimeoutError" in names:
        return BackendError(f"the Ray cluster does not reply: {_last_line(said)}")
    return BackendError(f"{type(chain[-1]).__name__}: {_last_line(said)}")


def is_lost_node(error: BaseException) -> bool:
    """Whether work was lost with a process or machine, so that doing it again may succeed."""
    return any(type(one).__name__ in _LOST for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the nearest last; Ray keeps a worker's own error as `cause`."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        cause = getattr(one, "cause", None)
        one = cause if isinstance(cause, BaseException) else one.__cause__


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"


def leave(folder: Path, error: OpswrightError) -> None:
    """Leave an error for whoever started the work, and all of it in the log."""
    traceback.print_exception(error)
    family = next((name for name, kind in _FAMILIES.items() if isinstance(error, kind)), "BackendError")
    write_atomically(folder / FAILURE, json.dumps({"family": family, "message": str(error)}).encode())


def left(folder: Path) -> OpswrightError | None:
    """The error that was left; None where none was."""
    path = folder / FAILURE
    if not path.is_file():
        return None
    found = json.loads(path.read_bytes())
    return _FAMILIES[found["family"]](found["message"])
