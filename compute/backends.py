"""Which compute backends there are: the built-in ones, and entry points of the group `opswright.compute`.

An entry point names a function from the settings to a backend, as those below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from ..core.contract import Finding
from ..core.errors import AskError, OpswrightError, did_you_mean
from .job import Compute, Resources, check_nodes

if TYPE_CHECKING:
    from ..core.settings import Settings

GROUP = "opswright.compute"
Opener = Callable[["Settings"], Compute]


def open_compute(name: str | None, settings: Settings, group: Sequence[EntryPoint] | None = None) -> Compute:
    """The backend of that name, None for the one the settings name; AskError with the nearest one."""
    wanted = name or settings.compute.backend
    if wanted in _BUILT_IN:
        return _BUILT_IN[wanted](settings)
    installed = {point.name: point for point in (entry_points(group=GROUP) if group is None else group)}
    if wanted in installed:
        backend: Compute = installed[wanted].load()(settings)
        return backend
    known = [*_BUILT_IN, *sorted(installed)]
    raise AskError(
        f"unknown compute backend '{wanted}' (there are: {', '.join(known)}).{did_you_mean(wanted, known)}"
    )


def where_it_runs(name: str | None, settings: Settings, resources: Resources) -> list[Finding]:
    """The pre-flight findings on where a job would run; what is wrong with it is one of them."""
    try:
        backend = open_compute(name, settings)
        check_nodes(backend, resources.nodes)
        return list(backend.check(resources))
    except OpswrightError as error:
        return [Finding(level="stop", message=str(error))]


def _local(settings: Settings) -> Compute:
    from .local import LocalCompute

    return LocalCompute()


def _slurm(settings: Settings) -> Compute:
    from .slurm import SlurmCompute

    return SlurmCompute(settings.compute.slurm)


def _kubernetes(settings: Settings) -> Compute:
    from .kubernetes import KubernetesCompute

    return KubernetesCompute(settings.compute.kubernetes)


_BUILT_IN: dict[str, Opener] = {"local": _local, "slurm": _slurm, "kubernetes": _kubernetes}
