"""Which engine server serves: Triton elsewhere, a Triton of this machine, or the in-process engine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import NeedsError
from ..core.settings.serving import ExternalTritonSettings
from ..core.workspace import Workspace
from .server import InferenceServer, ServedModel
from .triton import installation
from .triton.access import RemoteAccess
from .triton.environment import PlatformFacts, has_own_server
from .triton.questions import QuestionMaker

_SMALL_ENGINE_BYTES = 64 << 20
_CORES_A_COPY = 4  # for each thread of an engine; on two cores a second copy answers no more, and costs more
_COPY_BYTES = 100 << 20  # of a process that runs an engine
_LOADED = 3  # times its size on disk, with caches and what answers need


@dataclass(frozen=True)
class Choice:
    """A kind of server, and why it is not a Triton of this machine when it is not."""

    kind: Literal["triton", "external", "in-process"]
    reason: str = ""


def choose(workspace: Workspace, facts: PlatformFacts | None = None) -> Choice:
    """The server that settings and platform lead to; NeedsError when Triton is demanded but cannot run."""
    wanted = workspace.settings.serving.server
    if workspace.settings.serving.preloaded_triton is not None:
        return Choice("triton")
    if wanted == "in-process":
        return Choice("in-process", "the settings ask for it (serving.server = in-process)")
    if urls := workspace.settings.serving.external.urls:
        return Choice("external", f"run by somebody else: {', '.join(urls)}")
    if has_own_server():
        return Choice("triton")
    lacks = (facts or PlatformFacts.here()).lacks()
    if lacks is None:
        return Choice("triton")
    if wanted == "triton":
        raise NeedsError(
            f"Triton cannot run here: {lacks}. Set OPSWRIGHT_SERVING__SERVER=auto for the in-process engine, "
            "or TRITON_SERVER to a server of your own."
        )
    return Choice("in-process", f"Triton cannot run here: {lacks}")


def serving_folder(workspace: Workspace) -> Path:
    """Where records of processes and the model repository lie."""
    return workspace.root / "serving"


def triton_home(workspace: Workspace) -> Path:
    """Where Triton's server is installed, or will be: a folder that is shared with other workspaces.

    A workspace that an earlier version gave an environment of its own goes on with that.
    """
    own, serving = workspace.root / "triton-server", workspace.settings.serving
    if serving.triton_home is None and installation.own_environment(own) is not None:
        return own
    return installation.home_of(serving)


def build(
    workspace: Workspace, choice: Choice, say: Callable[[str], None], *, is_first: bool = True
) -> InferenceServer:
    """The chosen server, not yet started. A worker that is not the first is given that one's Triton."""
    serving = workspace.settings.serving
    if serving.preloaded_triton is not None:
        from .triton.preloaded import PreloadedTriton

        secret = serving.preloaded_triton_secret
        return PreloadedTriton(
            serving.preloaded_triton,
            secret.get_secret_value() if secret else "",
            question_maker(serving.external),
        )
    if choice.kind == "in-process":
        from .in_process import InProcessServer

        return InProcessServer(threads_for)
    if choice.kind == "external":
        return _external(workspace)
    from .triton.attached import AttachedTriton
    from .triton.environment import locate
    from .triton.server import TritonServer

    folder, log = serving_folder(workspace) / "triton", workspace.logs / "triton.log"
    if not is_first:
        return AttachedTriton(folder, log, serving.start_timeout_s)
    return TritonServer(
        folder,
        log,
        lambda: locate(triton_home(workspace), PlatformFacts.here(), say),
        threads_for,
        workspace.settings.serving.start_timeout_s,
        lambda model: instances_for(model, workspace.settings.serving.instances),
    )


def _external(workspace: Workspace) -> InferenceServer:
    from .triton.external import ExternalTriton
    from .triton.shared_repository import SharedRepository

    serving = workspace.settings.serving
    return ExternalTriton(
        lambda: external_accesses(serving.external),
        SharedRepository(serving.external.repository, serving.external.s3, question_maker(serving.external)),
        f"ops{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:10]}-",
        threads_for,
        serving.start_timeout_s,
        serving.instances or 1,
    )


def question_maker(settings: ExternalTritonSettings) -> QuestionMaker:
    """What models of other people's code are asked with, where settings say what that needs."""
    return QuestionMaker(settings.llmapi_code, settings.seen_at)


def external_accesses(settings: ExternalTritonSettings) -> list[RemoteAccess]:
    """How each server that settings name is reached; NeedsError when their secret is not there."""
    headers = {} if settings.secret is None else {settings.header: settings.secret.resolve()}
    return [RemoteAccess(url, headers) for url in settings.urls]


def threads_for(model: ServedModel) -> int:
    """Threads for one engine: a small one is fastest on one, which leaves other cores to its neighbours."""
    return 1 if _bytes_of(model) < _SMALL_ENGINE_BYTES else _cores()


def instances_for(model: ServedModel, wanted: int | None, cores: int = 0, free_bytes: int = 0) -> int:
    """Copies of one engine: as many as are wanted, else one for every four cores that its threads leave.

    No more than half of the free memory holds. cores, free_bytes: of this machine, when 0.
    """
    if wanted is not None:
        return wanted
    import psutil

    one = _COPY_BYTES + _LOADED * _bytes_of(model)
    by_cores = (cores or _cores()) // (_CORES_A_COPY * threads_for(model))
    by_memory = (free_bytes or psutil.virtual_memory().available) // 2 // one
    return max(1, min(by_cores, by_memory))


def _bytes_of(model: ServedModel) -> int:
    return sum(path.stat().st_size for path in model.engine.rglob("*") if path.is_file())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
