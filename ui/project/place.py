"""Puts a project that was made in a scratch folder into its place: all of it or nothing, over nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ...core.errors import AskError
from .sources import check_name

_SCRATCH = ".opswright-init-"


def check_free(folder: Path, files: Sequence[str]) -> None:
    """AskError when one of the files, or a link of its name, is there, or no folder can be made for it."""
    if there := [file for file in files if os.path.lexists(folder / file)]:
        raise _is_there(*there)
    for parent in {(folder / file).parent for file in files}:
        if os.path.lexists(parent) and not parent.is_dir():
            raise AskError(
                f"{parent.relative_to(folder)} is no folder, and init writes into one of that name. "
                "Rename it, or use another folder."
            )


@contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder of its own for a project; gone again when what is done in it fails.

    AskError for a name no endpoint can have, or of something that is there, unless it is what a killed init
    left of itself.
    """
    check_name(name)
    folder = parent / name
    left = folder.is_dir() and not folder.is_symlink()
    if os.path.lexists(folder) and not (
        left and all(one.name.startswith(_SCRATCH) for one in folder.iterdir())
    ):
        raise AskError(f"{name} is there already, and nothing is written over. Choose another name.")
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # not empty: another init works in it
            folder.rmdir()
        raise


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A folder inside `folder` that is gone afterwards, as are those that killed inits left there.

    AskError when another init works in `folder`.
    """
    held = os.open(folder, os.O_RDONLY)
    try:
        if _locked(held, folder):
            for left in folder.glob(f"{_SCRATCH}*"):
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
            yield Path(scratch)
    finally:
        os.close(held)


def move_all(staged: Path, folder: Path, files: Sequence[str]) -> None:
    """Move files and folders from `staged` to their places below `folder`; when one fails, none is moved.

    AskError when one of them is there by now.
    """
    moved: list[Path] = []
    made: list[Path] = []
    try:
        for file in files:
            target = folder / file
            if not target.parent.exists():
                target.parent.mkdir()
                made.append(target.parent)
            _move(staged / file, target)
            moved.append(target)
    except BaseException as error:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for parent in made:
            with suppress(OSError):  # not empty: it holds what appeared meanwhile
                parent.rmdir()
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise _is_there(file) from error
        raise


def _move(source: Path, target: Path) -> None:
    """Move without replacing: FileExistsError or NotADirectoryError when something is there."""
    if source.is_dir():
        if os.path.lexists(target):
            raise FileExistsError(target)
        source.rename(target)
    else:
        os.link(source, target)
        source.unlink()


def _is_there(*files: str) -> AskError:
    """That the files are there, and what helps: a name only where nothing but the suite is in the way."""
    is_are = "is" if len(files) == 1 else "are"
    by_name = all(file.startswith("suites/") for file in files)
    what = "Give another --name." if by_name else "Run init in another folder: one holds one project."
    return AskError(f"{', '.join(files)} {is_are} there already, and init writes over nothing. {what}")


def _locked(held: int, folder: Path) -> bool:
    """Whether the open folder is locked now; not on file systems that lock no folders, as NFS."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AskError(f"another init works in {folder}. Wait for it to end.") from error
    except OSError:
        return False
    return True
