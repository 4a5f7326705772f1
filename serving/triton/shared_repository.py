"""A model repository that servers elsewhere read: a shared folder, or an object store through fsspec.

A model's folder holds everything, its engine too, so that no server needs to see it under our path.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import BackendError, NeedsError
from ...core.files import canonical_json, files_below, sha256_file, sha256_json
from ...core.install import install_hint
from ..server import ServedModel
from .questions import QuestionMaker
from .repository import config_pbtxt, model_code

_ENGINE = "engine"  # below the version's folder
_NOBODYS = "opswright-preflight"
_CONFIG, _WHOLE = "config.pbtxt", "opswright.json"


class SharedRepository:
    """The folder or address that every replica reads models from; methods may be called from any thread."""

    def __init__(self, address: str, questions: QuestionMaker | None = None) -> None:
        self.address = address
        self.questions = questions or QuestionMaker()  # what models of other people's code need
        self._turn = threading.Lock()  # one writes at a time; whoever comes second finds it there

    def check(self) -> None:
        """NeedsError when the place cannot be reached; nothing is written."""
        with _Place(self.address, _NOBODYS) as place:
            place.read(_WHOLE)

    def write(self, model: ServedModel, threads: int, instances: int = 1) -> None:
        """Put a model's folder there, unless it is; its last file says that it is whole.

        NeedsError when the place cannot be reached or written.
        """
        config, code = self._parts(model, threads, instances)
        version = str(model.version)
        texts = {f"{version}/{name}": data for name, data in code.items() if isinstance(data, bytes)}
        files = {f"{version}/{name}": path for name, path in code.items() if isinstance(path, Path)}
        files |= {f"{version}/{_ENGINE}/{name}": path for name, path in files_below(model.engine).items()}
        digests = {name: sha256_file(path) for name, path in files.items()}
        digests |= {name: sha256_json(data.decode()) for name, data in texts.items()}
        whole = canonical_json({"files": sha256_json(digests), "config": config.decode()})
        with self._turn, _Place(self.address, model.name) as place:
            if place.read(_WHOLE) == whole:
                return
            place.remove()
            for name, path in files.items():
                place.put(name, path)
            for name, data in texts.items():
                place.write(name, data)
            place.write(_CONFIG, config)
            place.write(_WHOLE, whole)

    def _parts(
        self, model: ServedModel, threads: int, instances: int
    ) -> tuple[bytes, Mapping[str, Path | bytes]]:
        """A model's config.pbtxt, and what lies beside its engine."""
        text = self.questions.text_model(model)
        if text is None:
            config = config_pbtxt(replace(model, engine=Path(_ENGINE)), threads, instances)
            return config.encode(), {path.name: path for path in model_code(model)}
        place = self.questions.place(model)
        return text.config(place).encode(), text.files(place)

    def remove(self, name: str) -> None:
        """Take a model's folder away; none there is no error."""
        with self._turn, _Place(self.address, name) as place:
            place.remove()


class _Place:
    """A model's folder on its file system. As a context, it tells what that says in words."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        self._fs, root = _file_system(address)
        self._root = f"{root.rstrip('/')}/{name}"

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, BackendError):
            raise NeedsError(
                f"the model repository {self._address} cannot be used: {type(error).__name__}: {error}. "
                "Let it be written by this user, or correct OPSWRIGHT_SERVING__EXTERNAL."
            ) from error

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def put(self, name: str, source: Path) -> None:
        self._make_folder(name)
        self._fs.put_file(str(source), f"{self._root}/{name}")

    def write(self, name: str, data: bytes) -> None:
        self._make_folder(name)
        self._fs.pipe_file(f"{self._root}/{name}", data)

    def _make_folder(self, name: str) -> None:
        self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)

    def remove(self) -> None:
        self._fs.invalidate_cache()
        if self._fs.exists(self._root):
            self._fs.rm(self._root, recursive=True)


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; NeedsError without the package that speaks to it."""
    try:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(address)
        return fs, str(root)
    except ImportError as error:
        raise NeedsError(f"{address} needs a package: {error}. Install: {install_hint('remote')}") from error
    except ValueError as error:
        raise NeedsError(f"{address} is no place for a model repository: {error}.") from error
