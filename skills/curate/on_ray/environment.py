"""The environment that a cluster's programs run in, and whether the cluster is there."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.contract import Finding
from ....core.errors import NeedsError
from ....core.install import PACKAGE

if TYPE_CHECKING:
    from ....core.settings.compute import RaySettings

REQUIREMENTS = "requirements-ray.txt"
_DECIDING = ("ray", "nemo-curator")  # whose versions must be those that were tried
_CONNECT_S = 3
_VERSIONS = (
    "import importlib.metadata as m, json, sys; found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = m.version(name)\n"
    "    except m.PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)


def interpreter(settings: RaySettings) -> Path:
    """The Python that has Ray and NeMo Curator: the setting's, else that of `.venv-ray` here."""
    return (settings.python or Path(".venv-ray/bin/python")).absolute()


def findings(settings: RaySettings) -> Iterator[Finding]:
    """What pre-flight shows: where it runs, and what stands in its way."""
    yield from _environment(settings)
    address = settings.address
    if address is None:
        yield Finding(
            level="ok",
            message=f"it runs on a Ray cluster of this machine, {settings.cpus} CPUs, that is started for it "
            "and stopped (compute: ray).",
        )
        return
    if (fault := _unreachable(address)) is not None:
        yield fault
        return
    yield Finding(level="ok", message=f"it runs on the Ray cluster at {address} (compute: ray).")
    if settings.shared_folder is None:
        yield Finding(
            level="warn",
            message="compute.ray.shared_folder is not set: every node must see the workspace.",
            fix="Set it to a folder on a disk of all nodes, unless the workspace lies on one.",
        )


def require(settings: RaySettings) -> None:
    """NeedsError for what stands in the way."""
    for one in findings(settings):
        if one.level == "stop":
            raise NeedsError(f"{one.message} {one.fix}")


def _environment(settings: RaySettings) -> Iterator[Finding]:
    python = interpreter(settings)
    how = _how_to_install(python)
    if not os.access(python, os.X_OK):
        message = f"compute: ray needs an environment of its own; {python} is not there."
        yield Finding(level="stop", message=message, fix=how)
        return
    wanted = pins()
    found = _installed(python)
    if found is None:
        yield Finding(level="stop", message=f"{python} is no Python that runs.", fix=how)
        return
    for name in _DECIDING:
        if found.get(name) != wanted[name]:
            has = found.get(name, "none")
            message = f"{python} has {name} {has}; expected {wanted[name]}."
            yield Finding(level="stop", message=message, fix=how)


def pins(package: Path = PACKAGE) -> dict[str, str]:
    """The version of each package of the environment."""
    lines = (package / REQUIREMENTS).read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def _installed(python: Path) -> Mapping[str, str] | None:
    """The versions that an interpreter has; None where it does not run."""
    try:
        said = subprocess.run(
            [python, "-I", "-c", _VERSIONS, *_DECIDING], capture_output=True, timeout=30, check=True
        )
        found: dict[str, str] = json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def _how_to_install(python: Path) -> str:
    """The commands that make the environment in the versions that were tried."""
    folder = python.parent.parent if python.parent.name == "bin" else Path(".venv-ray")
    at, pip = shlex.quote(str(folder)), shlex.quote(str(folder / "bin" / "pip"))
    file = shlex.quote(str(PACKAGE / REQUIREMENTS))
    return f"Install: {shlex.quote(sys.executable)} -m venv {at} && {pip} install --no-deps -r {file}"


def _unreachable(address: str) -> Finding | None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        return Finding(
            level="stop",
            message=f"invalid compute.ray.address '{address}': expected host:port of the cluster's head.",
            fix="Ray Data does not run through ray:// (Ray Client): run this in the cluster's network.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        return Finding(
            level="stop",
            message=f"no Ray cluster replies at {address} ({error}).",
            fix="Start it (`ray start --head`), or leave compute.ray.address empty for one of this machine.",
        )
    return None


def driver_environment(settings: RaySettings, code: Path) -> dict[str, str]:
    """What the driver's environment has besides the submitter's; no secret, since it is kept on disk."""
    found = {
        "PYTHONPATH": str(code),
        "PYTHONUNBUFFERED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_task_oom_retries": "3",  # by default for ever
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": settings.address or "",
    }
    if settings.address is None:
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux too: bind to the loopback address alone
        found["RAY_AUTH_MODE"] = "token"  # Ray reads it when it is imported
        found["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # nobody else uses it: no 30 s of farewell
    elif not _has_token():
        found["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token of its own to the user's home
    return found


def _has_token() -> bool:
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()
