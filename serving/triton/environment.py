"""Where tritonserver comes from: its wheel in a layered virtual environment, or a binary of yours.

The wheel (nvidia-pytriton) holds a CPU build of the server with the Python backend. Its stub breaks silently
with numpy 2, so it gets an environment of its own: two wheels, and one .pth line that lends it the packages
of the main one. Your own server: set TRITON_SERVER to its binary.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import NeedsError
from ...core.files import canonical_json, write_atomically

WHEELS = ("nvidia-pytriton==0.7.0", "numpy==1.26.4")
DISK_BYTES = 260_000_000
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
    folder = _folder(home)
    if not is_installed(home):
        from filelock import FileLock

        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            if not is_installed(home):
                say(f"installing Triton's server ({', '.join(WHEELS)}) into {folder}; once, about 250 MB")
                _build(folder)
    install = _install(folder, facts)
    check_stub(install)
    return install


def has_own_server() -> bool:
    """Whether TRITON_SERVER names a server of yours."""
    return bool(os.environ.get("TRITON_SERVER"))


def is_installed(home: Path) -> bool:
    """Whether a whole environment for this interpreter and these packages is there."""
    try:
        return (_folder(home) / "ready.json").read_bytes() == _stamp()
    except OSError:
        return False


def _folder(home: Path) -> Path:
    return home / f"pytriton-py{sys.version_info.major}.{sys.version_info.minor}"


def _stamp() -> bytes:
    """What the environment was made for; a difference means to make it again."""
    return canonical_json(
        {"wheels": WHEELS, "python": sys.version, "packages": sysconfig.get_path("purelib")}
    )


def _build(folder: Path) -> None:
    """Make the environment beside its place, then move it there: a crash leaves nothing half made."""
    import importlib.util
    import venv

    stage = folder.with_name(folder.name + ".making")
    shutil.rmtree(stage, ignore_errors=True)
    has_pip = importlib.util.find_spec("pip") is not None
    venv.EnvBuilder(symlinks=True, with_pip=not has_pip).create(stage)
    python = str(stage / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python] if has_pip else [python, "-m", "pip"]
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    env = {k: v for k, v in os.environ.items() if k not in ("PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV")}
    done = subprocess.run([*pip, "install", *options, *WHEELS], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(stage, ignore_errors=True)
        raise NeedsError(
            f"Triton's server could not be installed: `pip install --no-deps {' '.join(WHEELS)}` ended with "
            f"{done.stderr.strip()[-600:]}\nMake the package index reachable and repeat, or set "
            "OPSWRIGHT_SERVING__SERVER=in-process."
        )
    packages = _packages(stage)
    (packages / "_main_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _join_backend(stage, packages)
    write_atomically(stage / "ready.json", _stamp())
    shutil.rmtree(folder, ignore_errors=True)
    stage.rename(folder)


def _packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _join_backend(folder: Path, packages: Path) -> None:
    """Put the stub beside the backend's library, as links: copies would lose the library's search path."""
    wheel = packages / "pytriton" / "tritonserver"
    target = folder / "backends" / "python"
    target.mkdir(parents=True)
    stub = (
        wheel / "python_backend_stubs" / "{}.{}".format(*sys.version_info[:2]) / "triton_python_backend_stub"
    )
    for path in (*(wheel / "backends" / "python").iterdir(), stub):
        if path.is_file():
            (target / path.name).symlink_to(os.path.relpath(path, target))


def _install(folder: Path, facts: PlatformFacts) -> Install:
    library = str(facts.libpython.parent) if facts.libpython else ""
    return Install(
        binary=_packages(folder) / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=folder / "backends",
        environment=_environment(folder / "bin", library),
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
    done = subprocess.run([stub], env=dict(install.environment), capture_output=True, text=True, timeout=30)
    if done.returncode != 1:  # 1: it asks for its arguments
        raise NeedsError(
            f"Triton's Python stub does not start (exit {done.returncode}): {done.stderr.strip()[-400:]}\n"
            f"Remove {install.backends} to have it made again, or set OPSWRIGHT_SERVING__SERVER=in-process."
        )
