"""Triton's server on disk: its wheels, installed once for every workspace of a user, whole or not at all.

Below a home, `triton-<digest of the pins>` has the wheels (`packages`), the backend beside its stub as links
(`backends`), and `ready.json`, which says what was installed: a folder without it, or other than it, does
not count. `python-<digest>` lends the stub the packages of one environment, in a few kB.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import uuid
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import NeedsError
from ...core.files import canonical_json, sha256_json, write_atomically
from ...core.install import PACKAGE

if TYPE_CHECKING:
    from ...core.settings.serving import ServingSettings

DISK_BYTES = 260_000_000
_REQUIREMENTS = PACKAGE / "requirements-triton.txt"
_READY = "ready.json"
_PYTHON = "{}.{}".format(*sys.version_info[:2])
_STUB = "triton_python_backend_stub"
# settings of pip that would send the wheels elsewhere, or take others
_PIP_WISHES = ("PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT")


@cache
def pins() -> tuple[str, ...]:
    """The wheels and their versions."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def home_of(settings: ServingSettings) -> Path:
    """Where the server lies: the folder that settings name, else one in the user's cache."""
    return shared_home() if settings.triton_home is None else settings.triton_home.resolve()


def shared_home() -> Path:
    """The folder in the user's cache."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "opswright"


def server_folder(home: Path) -> Path:
    """Where the server of these pins, for this version of Python, lies below a home, or will."""
    key = {"pins": sorted(pins()), "python": _PYTHON, "platform": sysconfig.get_platform()}
    return home / f"triton-{sha256_json(key)[:16]}"


def packages_of(folder: Path) -> Path:
    """Where a server's wheels are."""
    return folder / "packages"


def is_installed(home: Path) -> bool:
    """Whether the whole server is there: a folder that lost a file, or got another one, does not count."""
    folder = server_folder(home)
    try:
        return (folder / _READY).read_bytes() == canonical_json(_contents(folder))
    except OSError:
        return False


def install(home: Path, say: Callable[[str], None]) -> Path:
    """The server's folder, made when it is not there whole. Several processes may ask at once.

    Raises NeedsError when the wheels cannot be had, or the folder cannot be written.
    """
    folder = server_folder(home)
    if is_installed(home):
        return folder
    from filelock import FileLock

    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            if not is_installed(home):
                say(f"installing Triton's server ({', '.join(pins())}) into {folder}; once, about 250 MB")
                _make(folder)
    except OSError as error:
        raise NeedsError(
            f"Triton's server cannot be installed into {home}: {error.strerror or error}. Make room or let "
            "it be written, or name another folder by OPSWRIGHT_SERVING__TRITON_HOME."
        ) from error
    return folder


def _make(folder: Path) -> None:
    """Make the server beside its place, then move it there: a crash leaves nothing half made."""
    for left in folder.parent.glob(f".{folder.name}.*"):  # of somebody who was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    stage, replaced = _beside(folder), _beside(folder)
    try:
        _fetch(packages_of(stage))
        _join_backend(stage)
        write_atomically(stage / _READY, canonical_json(_contents(stage)))
        if folder.exists():  # not whole
            folder.rename(replaced)
        stage.rename(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")


def _fetch(packages: Path) -> None:
    with _pip() as pip:
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
        command = [*pip, "install", *options, "--target", str(packages), *pins()]
        env = {name: value for name, value in os.environ.items() if name not in _PIP_WISHES}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise NeedsError(
            f"Triton's server could not be installed: `pip install --no-deps {' '.join(pins())}` ended with "
            f"{done.stderr.strip()[-600:]}\nMake the package index reachable and repeat (`opswright install "
            "triton`), or set OPSWRIGHT_SERVING__SERVER=in-process."
        )


@contextmanager
def _pip() -> Iterator[list[str]]:
    """The command of this environment's pip; of one made for it where this has none, as uv leaves it."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
        return
    with tempfile.TemporaryDirectory(prefix="opswright-pip-") as folder:
        venv.EnvBuilder(symlinks=True, with_pip=True).create(folder)
        yield [f"{folder}/bin/python", "-m", "pip"]


def _join_backend(folder: Path) -> None:
    """Put the stub beside the backend's library, as links: copies would lose the library's search path."""
    wheel = packages_of(folder) / "pytriton" / "tritonserver"
    target = folder / "backends" / "python"
    target.mkdir(parents=True)
    stub = wheel / "python_backend_stubs" / _PYTHON / _STUB
    for path in (*(wheel / "backends" / "python").iterdir(), stub):
        if path.is_file():
            (target / path.name).symlink_to(os.path.relpath(path, target))


def _contents(folder: Path) -> Mapping[str, Any]:
    """What is installed: pins, and names and sizes of all files; what Python compiles is not counted."""
    sizes: dict[str, int] = {}
    for part in (packages_of(folder), folder / "backends"):
        for at, inner, names in os.walk(part):
            inner[:] = [name for name in inner if name != "__pycache__"]
            for name in names:
                path = os.path.join(at, name)
                sizes[os.path.relpath(path, folder)] = os.stat(path).st_size  # of a link: what it leads to
    return {"pins": pins(), "files": len(sizes), "bytes": sum(sizes.values()), "digest": sha256_json(sizes)}


def lent_python(home: Path, packages: Path) -> Path:
    """The bin folder of a Python that sees `packages` first, then what this very interpreter sees.

    Triton's stub finds its packages by such a `python3` on PATH and by nothing else.
    """
    lends = [str(packages), sysconfig.get_path("purelib")]
    key = {"lends": lends, "python": sys.version, "base": sys.base_prefix}
    writable = home if os.access(home, os.W_OK) else shared_home()
    folder = writable / f"python-{sha256_json(key)[:16]}"
    text = "".join(f"{path}\n" for path in lends)
    if not _lends(folder, text):
        writable.mkdir(mode=0o700, parents=True, exist_ok=True)
        stage = _beside(folder)
        venv.EnvBuilder(symlinks=True).create(stage)
        _lending(stage).write_text(text)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # somebody else made the same one meanwhile
            stage.rename(folder)
        shutil.rmtree(stage, ignore_errors=True)
    return folder / "bin"


def _lends(folder: Path, text: str) -> bool:
    try:
        return (folder / "bin" / "python3").exists() and _lending(folder).read_text() == text
    except OSError:
        return False


def _lending(folder: Path) -> Path:
    return _site_packages(folder) / "_lent.pth"


def _site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python{_PYTHON}" / "site-packages"


def own_environment(home: Path) -> Path | None:
    """An environment that an earlier version made for one workspace, whole and for this interpreter."""
    folder = home / f"pytriton-py{_PYTHON}"
    try:
        made = json.loads((folder / _READY).read_bytes())
    except (OSError, ValueError):
        return None
    made_for = {"wheels": sorted(pins()), "python": sys.version, "packages": sysconfig.get_path("purelib")}
    return folder if {**made, "wheels": sorted(made.get("wheels", ()))} == made_for else None


def own_packages(folder: Path) -> Path:
    """Where such an environment has its wheels."""
    return _site_packages(folder)
