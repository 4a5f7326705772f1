"""Sources that lie elsewhere: an address of fsspec, or a data set of a hub. Fetched, they are read as files.

What was fetched lies under its digest, so a source that is pinned (by its commit, or by its SHA-256) is
fetched once. Credentials are those of the machine, as each protocol's library finds them; an address that
holds one is refused, since addresses are recorded. No script of a data set is run: files of rows are read.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ..core.errors import AskError, BackendError, IntegrityError, NeedsError, OpswrightError, from_os_error
from ..core.files import sha256_json, sha256_path, write_atomically
from ..core.install import install_hint
from .hub import COMMIT, TIMEOUT_S, hub_errors, why_not

LIBRARIES = {
    "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub", "memory": "fsspec",
}  # fmt: skip
ROW_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_DATASET = re.compile(r"hf:(?://)?datasets/([\w][\w.-]*/[\w][\w.-]*)(?:@([\w.-]+))?(/.+)?")
_SECRET = re.compile(
    r"token|secret|passw|signature|credential|^sig$|^key$|api_?key|^pwd$|^auth$|authorization|jwt",
    re.IGNORECASE,
)
_SPLITS = ("train", "validation", "valid", "val", "dev", "test", "eval")
_SPLIT = re.compile(rf"(?:^|[/_.-])({'|'.join(_SPLITS)})(?=[/_.-])")
_NOT_ROWS = ("dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json")
_PIECE_BYTES = 1 << 20
_MOST_FILES = 10_000
_LONGEST_NAME = 200  # bytes of a file's name here; most disks take 255
_STREAMED = {"http": {"block_size": 0}, "https": {"block_size": 0}}  # by pieces, whatever it unpacks to
_LEFT_FREE = 1 << 30  # of the disk, by replies that do not say where they end


class RemoteSource(str):
    """Where rows lie: `s3://bucket/rows.jsonl`, `https://...`, `hf:datasets/owner/name@commit/data/*.csv`."""

    @classmethod
    def is_one(cls, text: object) -> TypeGuard[str]:
        """Whether a text is meant as an address, not as a path."""
        return isinstance(text, str) and ("://" in text or text.startswith("hf:"))

    @classmethod
    def checked(cls, text: str) -> RemoteSource:
        """The address of a text; ValueError for one that is none, that cannot be read, or holds a secret."""
        if text.startswith("hf:"):
            if not _DATASET.fullmatch(text) or ".." in text:
                raise ValueError("invalid source: expected hf:datasets/owner/name@commit, and maybe /FILE")
            return cls(text)
        protocol, mark, rest = text.partition("://")
        if protocol not in LIBRARIES or not mark or not rest or "::" in text:
            known = ", ".join(name for name in LIBRARIES if name != "memory")
            raise ValueError(f"invalid source: expected a path, or an address of {known}")
        parts = urlsplit(text)
        named = parse_qsl(f"{parts.query}&{parts.fragment}".replace(";", "&"), True)
        if "@" in parts.netloc or any(_SECRET.search(name) for name, _ in named):
            raise ValueError(
                "the source's address holds a credential, and addresses are recorded. Set it in the "
                "environment, where the protocol's library looks for it"
            )
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls.checked, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    @property
    def protocol(self) -> str:
        """How it is reached, a key of LIBRARIES."""
        return self.partition(":")[0]

    @property
    def path(self) -> str:
        """The address as fsspec takes it."""
        return f"hf://{self.removeprefix('hf:').lstrip('/')}" if self.protocol == "hf" else str(self)

    @property
    def dataset(self) -> tuple[str, str] | None:
        """owner/name and revision of a data set of a hub; `main` where no revision is named."""
        found = _DATASET.fullmatch(self)
        return (found[1], found[2] or "main") if found else None

    @property
    def is_pinned(self) -> bool:
        """Whether the address alone says what it holds: that of a commit."""
        return self.dataset is not None and COMMIT.fullmatch(self.dataset[1]) is not None


class RemoteFile(NamedTuple):
    """A file of rows: what it is called here, its address, its bytes where the other side says."""

    name: str
    path: str
    size_bytes: int | None


@dataclass(frozen=True)
class Fetched:
    """A source that is here: a file, or a folder of files, and its digest (`core.files.sha256_path`)."""

    path: Path
    sha256: str


def look_up(source: RemoteSource, split: str | None = None) -> list[RemoteFile]:
    """The files of a source, without fetching them.

    split: of the files that name splits, those to take, by default train. AskError when there is nothing, or
    nothing that can be read, and for a data set without its commit (naming the one it has now); NeedsError
    when it cannot be reached.
    """
    with _in_words(source):
        files = _listed(source)
    if len(files) > _MOST_FILES:
        raise AskError(f"source {source} has {len(files):,} files; at most {_MOST_FILES:,} are read.")
    if "*" not in source and len(files) > 1:
        files = _of_split(source, files, split)
    endings = {Path(one.name).suffix.lower() for one in files}
    if len(endings) > 1:
        kinds = ", ".join(sorted(endings))
        raise AskError(f"source {source} has files of several kinds ({kinds}). Name some, as in /*.csv.")
    if len({one.name for one in files}) < len(files):
        raise AskError(f"source {source} has two files that would have one name here. Name one of them.")
    return files


def _listed(source: RemoteSource) -> list[RemoteFile]:
    if source.dataset:
        _check_commit(source, *source.dataset)
    system = _system(source)
    root = str(system._strip_protocol(source.path))
    if "*" in source:
        found: Mapping[str, Any] = system.glob(root, detail=True)
    else:
        info = system.info(root)
        found = system.find(root, detail=True) if info["type"] == "directory" else {root: info}
        if len(found) == 1 and info["type"] != "directory":
            name = urlsplit(root).path.rstrip("/").rpartition("/")[2]
            return [RemoteFile(_safe(name), root, info.get("size"))]
    base = root.partition("*")[0].rpartition("/")[0] if "*" in source else root
    files = [
        RemoteFile(_safe(path.removeprefix(base)), path, info.get("size"))
        for path, info in sorted(found.items())
        if info["type"] == "file" and path.endswith(ROW_FILES) and not path.endswith(_NOT_ROWS)
    ]
    if not files:
        raise AskError(f"source {source} has no file of rows ({', '.join(ROW_FILES)}). Check the address.")
    return files


def _safe(path: str) -> str:
    """A file's name here: folders as `--`, nothing that another system could take for more than a name."""
    return re.sub(r"[^\w.-]", "_", path.strip("/").replace("/", "--")).lstrip(".") or "rows"


def _of_split(source: RemoteSource, files: list[RemoteFile], split: str | None) -> list[RemoteFile]:
    """The files of one split, where files say which they are of."""
    splits = {one: found[1] for one in files if (found := _SPLIT.search(one.name.replace("--", "/")))}
    if not splits:
        return files
    wanted = split or "train"
    if chosen := [one for one in files if splits.get(one) == wanted]:
        return chosen
    known = ", ".join(sorted(set(splits.values())))
    raise AskError(f"source {source} has no files of the split '{wanted}' (it has: {known}).")


def _check_commit(source: RemoteSource, repository: str, revision: str) -> None:
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(repository, revision=revision, timeout=TIMEOUT_S).sha
    if not source.is_pinned:
        raise AskError(
            f"source '{source}' names no commit, so what it means can change. Now it is "
            f"hf:datasets/{repository}@{commit}: write that."
        )


def _system(source: RemoteSource) -> Any:
    import fsspec

    return fsspec.filesystem(source.protocol, skip_instance_cache=True, use_listings_cache=False)


@contextmanager
def _in_words(source: RemoteSource) -> Iterator[None]:
    """Tell the errors of a protocol's library in words a person can act on."""
    if source.dataset:
        from huggingface_hub import constants

        repository, revision = source.dataset
        with hub_errors(f"source '{source}'", repository, revision, constants.ENDPOINT, "a local file"):
            yield
        return
    try:
        yield
    except OpswrightError:
        raise
    except ImportError as error:
        raise NeedsError(f"source {source} needs {_how_to_install(source.protocol)}") from error
    except FileNotFoundError as error:
        cause = error.__cause__  # a web server that cannot be reached comes in this form too
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404:
            raise AskError(f"there is nothing at {source}. Check the address.") from error
        raise _unreachable(source, cause) from error
    except PermissionError as error:
        library = LIBRARIES[source.protocol]
        raise NeedsError(
            f"no permission to read {source}. Set credentials as {library} finds them."
        ) from error
    except Exception as error:  # each protocol's library has errors of its own for what cannot be reached
        raise _unreachable(source, error) from error


@contextmanager
def _disk_errors(source: RemoteSource) -> Iterator[None]:
    """Tell what this machine's disk refuses as such: what the other side does are OSErrors too."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, f"fetching {source}") from error


def _unreachable(source: RemoteSource, error: BaseException) -> NeedsError:
    return NeedsError(f"{source} cannot be reached ({why_not(error)}). Go online, or give a local file.")


def _how_to_install(protocol: str) -> str:
    library = LIBRARIES[protocol]
    if protocol in ("http", "https", "hf", "memory") or importlib.util.find_spec("fsspec") is None:
        return f"{library}. Install: {install_hint('remote')}"
    return f"{library}. Install: {install_hint('remote')} {library}"


def fetched(source: RemoteSource, store: Path, sha256: str | None, split: str | None) -> Fetched | None:
    """The source as it was fetched earlier, for one that is pinned; None when it is not here, whole."""
    if sha256 is None and source.is_pinned:
        try:
            sha256 = _mark(source, store, split).read_text().strip()
        except FileNotFoundError:
            return None
    if sha256 is None or not (store / sha256).is_dir():
        return None
    path = _only(store / sha256)
    return Fetched(path, sha256) if sha256_path(path) == sha256 else None


def fetch(
    source: RemoteSource,
    store: Path,
    sha256: str | None = None,
    split: str | None = None,
    seen: Callable[[int], None] = lambda size: None,
) -> Fetched:
    """Fetch a source a piece at a time; one that is pinned only where it is not here yet.

    sha256: the digest it must have. seen: gets the bytes of each piece, and may stop it. IntegrityError when
    the digest is another; BackendError when a file ended early; else errors as of `look_up`.
    """
    if found := fetched(source, store, sha256, split):
        return found
    files = look_up(source, split)
    with _disk_errors(source):
        store.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=store, prefix="fetching-"))
    try:
        with _in_words(source):
            system = _system(source)
            for file in files:
                _copy(source, system, file, staging / _short(file.name), seen)
        digest = sha256_path(_only(staging))
        if sha256 is not None and digest != sha256:
            raise IntegrityError(
                f"{source} has the SHA-256 {digest}, where source_sha256 is {sha256}. Find out what changed."
            )
        if fetched(source, store, digest, split) is None:  # else another step may be reading it
            shutil.rmtree(store / digest, ignore_errors=True)
            os.replace(staging, store / digest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if source.is_pinned:
        write_atomically(_mark(source, store, split), digest.encode())
    return Fetched(_only(store / digest), digest)


def _copy(
    source: RemoteSource, system: Any, file: RemoteFile, target: Path, seen: Callable[[int], None]
) -> None:
    size = 0
    with _disk_errors(source):
        local = target.open("wb")
    with local, system.open(file.path, "rb", **_STREAMED.get(source.protocol, {})) as remote:
        while piece := remote.read(_PIECE_BYTES):
            size += len(piece)
            if file.size_bytes is not None and size > file.size_bytes:
                raise BackendError(
                    f"{file.path} gives more than the {file.size_bytes:,} bytes its server said: it may be "
                    "packed on its way. Fetch it by other means, and give the local file."
                )
            with _disk_errors(source):
                local.write(piece)
                local.flush()
                if file.size_bytes is None and shutil.disk_usage(target.parent).free < _LEFT_FREE:
                    raise OSError(
                        errno.ENOSPC, "its size, which nobody said, would fill the disk", target.name
                    )
            seen(len(piece))
    if file.size_bytes is not None and size != file.size_bytes:
        raise BackendError(f"{file.path} ended after {size:,} of {file.size_bytes:,} bytes. Try again.")


def _short(name: str) -> str:
    """The name of a file that every disk takes: the end of a long one, behind the start of its digest."""
    data = name.encode()
    if len(data) <= _LONGEST_NAME:
        return name
    return f"{sha256_json(name)[:12]}-{data[13 - _LONGEST_NAME :].decode(errors='ignore')}"


def _only(folder: Path) -> Path:
    """The file of a folder that has one; else the folder."""
    held = list(folder.iterdir())
    return held[0] if len(held) == 1 else folder


def _mark(source: RemoteSource, store: Path, split: str | None) -> Path:
    """A file that holds the digest of what a commit has."""
    return store / f"{sha256_json([source, split])}.sha256"
