"""systemd units for a workspace's gateway: written, checked, and left for a person to enable."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BackendError, NeedsError, from_os_error
from ..core.files import PRIVATE, write_atomically
from ..core.workspace import Workspace
from .fleet import serving_variables
from .server_selection import serving_folder
from .supervisor import MODULE

_CHECK_S = 60
_UNIT = """\
[Unit]
Description=Opswright gateway of {root}
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
EnvironmentFile={environment}
WorkingDirectory={folder}
# what was stopped by `opswright stop` ends with 0 and stays ended
Restart=on-failure
RestartSec=1
# the supervisor watches its workers, and is watched by this
WatchdogSec=60
# the supervisor alone is asked to end: it lets the gateway drain, and that ends its server
KillMode=mixed
TimeoutStopSec=40
NoNewPrivileges=true

[Install]
WantedBy={target}
"""


@dataclass(frozen=True)
class InstalledUnit:
    """A unit's file, the file of its settings, and the commands that start it and show it."""

    path: Path
    environment: Path
    is_checked: bool  # by systemd-analyze, where there is one
    next_commands: tuple[str, ...]


def install(workspace: Workspace, folder: Path | None = None, *, system: bool = False) -> InstalledUnit:
    """Write the unit of a workspace's gateway with the settings in force; it is not started.

    folder: where units lie; by default those of the user, or with `system` those of the machine. Raises
    BackendError, and leaves no unit, when systemd would not take it.
    """
    folder = folder or (Path("/etc/systemd/system") if system else Path.home() / ".config/systemd/user")
    path = folder / f"{unit_name(workspace)}.service"
    environment = serving_folder(workspace) / "gateway.env"
    write_atomically(environment, _variables(workspace).encode(), PRIVATE)
    try:
        write_atomically(path, _unit(workspace, environment, system).encode(), 0o644)
    except OSError as error:
        raise from_os_error(error, f"the unit {path} was written") from error
    try:
        is_checked = _check(path, system)
    except BaseException:
        path.unlink()
        raise
    call = "systemctl" if system else "systemctl --user"
    commands = [f"{call} daemon-reload", f"{call} enable --now {path.name}", f"{call} status {path.name}"]
    stay = () if system else ("loginctl enable-linger",)  # a user's units end with the last session otherwise
    return InstalledUnit(path, environment, is_checked, (*commands, *stay))


def unit_name(workspace: Workspace) -> str:
    """A name that says which project, and that no other workspace has."""
    project = re.sub(r"[^A-Za-z0-9]+", "-", workspace.root.parent.name).strip("-") or "workspace"
    return f"opswright-{project[:40]}-{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:8]}"


def _unit(workspace: Workspace, environment: Path, system: bool) -> str:
    command = [sys.executable, "-P", "-m", MODULE, "--home", str(workspace.root)]
    for text in (*command, str(environment)):
        if "\n" in text:
            raise NeedsError(f"systemd takes no path with a line break: {text!r}. Move the workspace.")
    return _UNIT.format(
        root=_escaped(str(workspace.root)),
        command=" ".join(_quoted(word) for word in command),
        environment=_escaped(str(environment)),
        folder=_escaped(str(workspace.root)),
        target="multi-user.target" if system else "default.target",
    )


def _escaped(text: str) -> str:
    """A text in which systemd expands nothing."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command line."""
    plain = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"'


def _variables(workspace: Workspace) -> str:
    """The settings in force, as an environment file."""
    values = {**serving_variables(workspace.settings.serving), "OPSWRIGHT_HOME": str(workspace.root)}
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in values.items()}
    return "".join(f'{name}="{value}"\n' for name, value in sorted(escaped.items()))


def _check(path: Path, system: bool) -> bool:
    """Whether systemd-analyze looked at the unit; BackendError with what it found wrong."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        return False
    command = [tool, "verify", "--man=no", *([] if system else ["--user"]), str(path)]
    with tempfile.TemporaryDirectory() as folder:  # a container has no runtime folder, and it wants one
        environment = {"XDG_RUNTIME_DIR": folder} | os.environ
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_CHECK_S, check=False
        )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    if done.returncode != 0 and said:
        raise BackendError("\n".join(["systemd does not take the unit:", *said]))
    return done.returncode == 0
