"""A model repository that servers elsewhere read: a shared folder, S3, or what else fsspec speaks to.

A model's folder holds everything, its engine too, so that no server needs to see it under our path.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import NeedsError
from ...core.files import canonical_json, files_below, sha256_file, sha256_json
from ...core.install import install_hint
from ...core.settings.serving import S3Settings
from ..server import ServedModel
from .questions import QuestionMaker
from .repository import config_pbtxt, model_code
from .s3_place import S3Place, is_s3

_ENGINE = "engine"  # below the version's folder
_NOBODYS = "opswright-preflight"
_CONFIG, _WHOLE = "config.pbtxt", "opswright.json"
_FIRST = (_WHOLE, _CONFIG)  # that go first: a folder that is going is no model any more


class SharedRepository:
    """The folder or address that every replica reads models from; methods may be called from any thread."""

    def __init__(
        self, address: str, s3: S3Settings | None = None, questions: QuestionMaker | None = None
    ) -> None:
        self.address = address
        self.questions = questions or QuestionMaker()  # what models of other people's code need
        self._s3 = s3 or S3Settings()
        self._turn = threading.Lock()  # one writes at a time; whoever comes second finds it there

    def check(self) -> None:
        """NeedsError when the place cannot be reached; nothing stays written."""
        self._place(_NOBODYS).check()

    def write(self, model: ServedModel, threads: int, instances: int = 1) -> None:
        """Put a model's folder there, unless it is; its last file says that it is whole.

        The configuration comes after the version's files: without it Triton sees no model. NeedsError when
        the place cannot be reached or written.
        """
        config, code = self._parts(model, threads, instances)
        version = str(model.version)
        texts = {f"{version}/{name}": data for name, data in code.items() if isinstance(data, bytes)}
        files = {f"{version}/{name}": path for name, path in code.items() if isinstance(path, Path)}
        files |= {f"{version}/{_ENGINE}/{name}": path for name, path in files_below(model.engine).items()}
        digests = {name: sha256_file(path) for name, path in files.items()}
        digests |= {name: sha256_json(data.decode()) for name, data in texts.items()}
        whole = canonical_json({"files": sha256_json(digests), "config": config.decode()})
        with self._turn:
            place = self._place(model.name)
            if place.read(_WHOLE) == whole:
                return
            place.remove(_FIRST)
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
        with self._turn:
            self._place(name).remove(_FIRST)

    def prune(self, prefix: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """Take away the folders of a workspace's models (by their prefix) that nobody wants; their names."""
        gone = []
        for name in self._place(_NOBODYS).siblings():
            with self._turn:  # a load that began since has said so before it writes
                if name.startswith(prefix) and not is_wanted(name):
                    self._place(name).remove(_FIRST)
                    gone.append(name)
        return gone

    def _place(self, name: str) -> S3Place | _FilePlace:
        if is_s3(self.address):
            return S3Place(self.address, name, self._s3)
        return _FilePlace(self.address, name)


class _FilePlace:
    """A model's folder on its file system; NeedsError in words for what that says."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        self._fs, self._base = _file_system(address)
        self._root = f"{self._base.rstrip('/')}/{name}"

    def check(self) -> None:
        self.read(_WHOLE)

    def read(self, name: str) -> bytes | None:
        with self._in_words():
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                return None

    def put(self, name: str, source: Path) -> None:
        with self._in_words():
            self._make_folder(name)
            self._fs.put_file(str(source), f"{self._root}/{name}")

    def write(self, name: str, data: bytes) -> None:
        with self._in_words():
            self._make_folder(name)
            self._fs.pipe_file(f"{self._root}/{name}", data)

    def remove(self, first: Iterable[str] = ()) -> None:
        with self._in_words():
            self._fs.invalidate_cache()
            for path in (f"{self._root}/{name}" for name in first):
                if self._fs.exists(path):
                    self._fs.rm_file(path)
            if self._fs.exists(self._root):
                self._fs.rm(self._root, recursive=True)

    def siblings(self) -> list[str]:
        with self._in_words():
            self._fs.invalidate_cache()
            if not self._fs.exists(self._base):
                return []
            found = self._fs.ls(self._base, detail=True)
            return [
                str(one["name"]).rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory"
            ]

    def _make_folder(self, name: str) -> None:
        self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise NeedsError(
                f"the model repository {self._address} cannot be used: {type(error).__name__}: {error}. "
                "Let it be written by this user, or correct OPSWRIGHT_SERVING__EXTERNAL."
            ) from error


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
