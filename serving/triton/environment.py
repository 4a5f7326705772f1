"""Where tritonserver comes from: its wheel, installed once for a user, or a binary of yours.

The wheel (nvidia-pytriton) holds a CPU build of the server with the Python backend. Its stub breaks silently
with numpy 2, so the wheels lie in a folder of their own, and a small environment puts them before the
packages of the main one. Your own server: set TRITON_SERVER to its binary.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import NeedsError
from . import installation

_GLIBC = (2, 35)
_PYTHONS = ((3, 10), (3, 11), (3, 12))  # numpy 1.26 has no wheel for later ones


@dataclass(frozen=True)
class PlatformFacts:
    """What decides whether the wheel's server can run here."""

    system: str
    machine: str
    glibc: tuple[int, int] | None
    python: tuple[int, int]
    libpython: Path | None

    @classmethod
    def here(cls) -> PlatformFacts:
        """This machine and this interpreter."""
        name, version = platform.libc_ver()
        parts = version.split(".")
        return cls(
            system=platform.system(),
            machine=platform.machine(),
            glibc=(int(parts[0]), int(parts[1])) if name == "glibc" and len(parts) > 1 else None,
            python=(sys.version_info.major, sys.version_info.minor),
            libpython=_libpython(),
        )

    def lacks(self) -> str | None:
        """Why the wheel's server cannot run here, in words; None when it can."""
        if (self.system, self.machine) != ("Linux", "x86_64"):
            return f"its wheel is for Linux on x86_64, this is {self.system} on {self.machine}"
        if self.glibc is None or self.glibc < _GLIBC:
            found = "another C library" if self.glibc is None else "glibc {}.{}".format(*self.glibc)
            return f"it needs glibc 2.35 or later, this machine has {found}"
        if self.python not in _PYTHONS:
            return "it needs Python 3.10 to 3.12, this is {}.{}".format(*self.python)
        if self.libpython is None:
            return "this Python was built without its shared library (libpython)"
        return None


def _libpython() -> Path | None:
    """The shared library of this very interpreter; another of the same version breaks the stub."""
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    folder = Path(str(sysconfig.get_config_var("LIBDIR") or sys.base_prefix))
    for candidate in (
        folder,
        folder / str(sysconfig.get_config_var("MULTIARCH") or ""),
        Path(sys.base_prefix, "lib"),
    ):
        if name.startswith("libpython") and ".so" in name and (candidate / name).is_file():
            return candidate / name
    return None


@dataclass(frozen=True)
class Install:
    """A tritonserver that can be started: its binary, its backends and the environment it needs."""

    binary: Path
    backends: Path | None
    environment: Mapping[str, str]


def locate(home: Path, facts: PlatformFacts, say: Callable[[str], None]) -> Install:
    """The server to start: TRITON_SERVER, or the wheel's, installed below `home` on first use and checked.

    Several processes may ask at once. Raises NeedsError when it cannot be had, with what to do.
    """
    if has_own_server():
        return _existing(Path(os.environ["TRITON_SERVER"]))
    if reason := facts.lacks():
        raise NeedsError(f"Triton cannot run here: {reason}. Set OPSWRIGHT_SERVING__SERVER=in-process.")
    if (own := installation.own_environment(home)) is not None:
        install = _install(own, installation.own_packages(own), own / "bin", facts)
    else:
        folder = installation.install(home, say)
        packages = installation.packages_of(folder)
        install = _install(folder, packages, installation.lent_python(home, packages), facts)
    check_stub(install)
    return install


def has_own_server() -> bool:
    """Whether TRITON_SERVER names a server of yours."""
    return bool(os.environ.get("TRITON_SERVER"))


def is_ready(home: Path) -> bool:
    """Whether the server can be started from `home` without anything being installed."""
    return installation.own_environment(home) is not None or installation.is_installed(home)


def _install(folder: Path, packages: Path, bin_folder: Path, facts: PlatformFacts) -> Install:
    library = str(facts.libpython.parent) if facts.libpython else ""
    return Install(
        binary=packages / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=folder / "backends",
        environment=_environment(bin_folder, library),
    )


def _existing(binary: Path) -> Install:
    """A server that somebody else installed; its Python backend must find the engine's library by itself."""
    if not (binary.is_file() and os.access(binary, os.X_OK)):
        raise NeedsError(f"TRITON_SERVER names {binary}, not an executable file. Correct or unset it.")
    return Install(
        binary.absolute(),
        None,
        _environment(Path(sys.executable).parent, os.environ.get("LD_LIBRARY_PATH", "")),
    )


def _environment(bin_folder: Path, library: str) -> dict[str, str]:
    """The stub finds its Python by `python3` on PATH and libpython by LD_LIBRARY_PATH, by nothing else.

    AIP_MODE would open a port of Vertex AI's to everyone.
    """
    left_out = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "AIP_MODE")
    env = {k: v for k, v in os.environ.items() if k not in left_out}
    return {**env, "PATH": f"{bin_folder}{os.pathsep}{env.get('PATH', '')}", "LD_LIBRARY_PATH": library}


def check_stub(install: Install) -> None:
    """Start the stub with nothing to do: one that dies in the loader would make every load hang for ever."""
    if install.backends is None:
        return
    stub = install.backends / "python" / "triton_python_backend_stub"
    done = subprocess.run([stub], env=dict(install.environment), capture_output=True, text=True, timeout=60)
    if done.returncode != 1:  # 1: it asks for its arguments
        raise NeedsError(
            f"Triton's Python stub does not start (exit {done.returncode}): {done.stderr.strip()[-400:]}\n"
            f"Remove {install.backends.parent} to have it made again, or set "
            "OPSWRIGHT_SERVING__SERVER=in-process."
        )
