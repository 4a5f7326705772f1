"""A `.nemo` file as it lies: a tar with a config, weights that are a pickle, and files. Nothing is unpickled.

What would run when the weights are loaded is read from the pickle's opcodes.
"""

from __future__ import annotations

import io
import pickletools
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ...core.errors import AskError
from ...core.strict_yaml import MAX_BYTES, parse_yaml

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
_MOST_MEMBERS = 10_000
_MOST_PICKLE_BYTES = 200_000_000
_LEGACY_TORCH = 0x1950A86A20F9469CFC6C  # what torch's form before its zip begins with, as a pickle of its own
# What a pickle of tensors imports: their storages, how they are put together, an ordered dict.
_TENSORS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}
# What a zip that is cut, damaged, encrypted or packed by other means raises when it is read.
_UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool", "Untyped")


@dataclass(frozen=True)
class Pickle:
    """What a pickle in the archive would import when it is loaded."""

    member: str
    imports: tuple[str, ...]
    unsafe: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """What is known of a `.nemo` file without loading it.

    sizes: bytes by member; refused: members that would leave the folder they are unpacked into, or are no
    plain files; config: the model's own, empty when there is none.
    """

    path: Path
    sizes: Mapping[str, int]
    refused: tuple[str, ...]
    config: Mapping[str, Any]
    pickles: tuple[Pickle, ...]

    @property
    def target(self) -> str:
        """The class that the config names; empty without one."""
        return str(self.config.get("target", ""))

    @property
    def unsafe(self) -> tuple[str, ...]:
        """Everything that loading it would import besides tensors."""
        return tuple(sorted({name for one in self.pickles for name in one.unsafe}))

    def check(self) -> None:
        """AskError when it holds what must not be unpacked or loaded."""
        if self.refused:
            raise AskError(
                f"{self.path} is refused: member '{self.refused[0][:100]}' is no plain file below the "
                "archive."
            )
        if self.unsafe:
            raise AskError(
                f"{self.path} is refused: its weights would import {', '.join(self.unsafe[:5])} when they "
                "are loaded, and tensors need nothing of that kind."
            )


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar; AskError for what is none."""
    if path.is_dir():
        raise AskError(
            f"{path} is a folder: a distributed checkpoint of NeMo 2, whose index is a pickle, is not "
            "read. Convert it to a .nemo file, or to Hugging Face's form with Megatron-Bridge."
        )
    if not path.is_file():
        raise AskError(f"{path} not found: expected a .nemo file.")
    try:
        with tarfile.open(path) as tar:
            yield tar
    except (tarfile.TarError, EOFError, OSError) as error:
        raise AskError(f"{path} is cut or no .nemo file (a tar): {error}") from error


def inspect(path: Path) -> Archive:
    """Read what a `.nemo` file holds; AskError when it is none, or its config is no YAML."""
    sizes: dict[str, int] = {}
    refused, pickles = [], []
    config: Any = {}
    with opened(path) as tar:
        for count, member in enumerate(tar):
            if count >= _MOST_MEMBERS:
                raise AskError(f"{path} has more than {_MOST_MEMBERS:,} members, which no model has.")
            name = _plain_name(member.name)
            if member.isdir() and name is not None:
                continue
            if name is None or not member.isfile() or name in sizes:
                refused.append(member.name)
                continue
            sizes[name] = member.size
            file = tar.extractfile(member)
            if file is None:
                refused.append(member.name)
            elif name == CONFIG:
                config = _read_config(path, file, member.size)
            elif found := _pickle(name, file):
                pickles.append(found)
    return Archive(path, sizes, tuple(refused), config, tuple(pickles))


def unpack(archive: Archive, names: list[str], folder: Path) -> None:
    """Write these members into a folder, by their own last names; the archive must pass `check`."""
    archive.check()
    with opened(archive.path) as tar:
        for member in tar:
            name = _plain_name(member.name)
            if name in names and member.isfile() and (file := tar.extractfile(member)) is not None:
                with (folder / PurePosixPath(name).name).open("wb") as out:
                    shutil.copyfileobj(file, out, 1 << 22)


def _plain_name(name: str) -> str | None:
    """A member's name without its leading `./`; None for one that would leave the folder."""
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    if name.startswith("/") or "\\" in name or ".." in parts or "\0" in name:
        return None
    return "/".join(parts)


def _read_config(path: Path, file: IO[bytes], size: int) -> Mapping[str, Any]:
    if size > MAX_BYTES:
        raise AskError(f"{path}: {CONFIG} has {size:,} bytes; a config holds at most {MAX_BYTES:,}.")
    try:
        values = parse_yaml(file.read().decode("utf-8"), f"{path}: {CONFIG}").data
    except UnicodeDecodeError as error:
        raise AskError(f"{path}: {CONFIG} is no UTF-8 text: {error}.") from error
    if not isinstance(values, dict):
        raise AskError(f"{path}: {CONFIG} holds no mapping.")
    return values


def _pickle(name: str, file: IO[bytes]) -> Pickle | None:
    """What a member's pickle imports; None for a member that is none."""
    start = file.read(4)
    file.seek(0)
    if start.startswith(b"PK\x03\x04"):
        return _zipped(name, file)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".ckpt", ".pt", ".pth", ".bin", ".pkl") or (start[:1] == b"\x80" and 2 <= start[1] <= 5):
        return Pickle(name, *_imports(file.read(_MOST_PICKLE_BYTES + 1)))
    return None


def _zipped(name: str, file: IO[bytes]) -> Pickle | None:
    imports: set[str] = set()
    unsafe: set[str] = set()
    try:
        with zipfile.ZipFile(file) as zipped:
            for inner in zipped.infolist():
                if inner.filename.endswith(".pkl"):
                    found = _imports(_inner_bytes(zipped, inner))
                    imports |= set(found[0])
                    unsafe |= set(found[1])
                elif inner.filename.rpartition("/")[0].endswith("code"):
                    unsafe.add(f"TorchScript code {inner.filename}")
    except _UNREADABLE_ZIP as error:
        unsafe.add(f"a damaged zip ({error})")
    return Pickle(name, tuple(sorted(imports)), tuple(sorted(unsafe)))


def _inner_bytes(zipped: zipfile.ZipFile, inner: zipfile.ZipInfo) -> bytes:
    """A file in a zip, of a larger one than is looked into one byte more than that."""
    with zipped.open(inner) as data:
        return data.read(_MOST_PICKLE_BYTES + 1)


def _imports(data: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that pickles, one after another, import, and those of them that tensors do not need.

    Bytes that are no pickle are unsafe, and so are files as torch wrote them before its zip: several pickles,
    then bare numbers.
    """
    found: set[tuple[str, str]] = set()
    unsafe: set[str] = set()
    if len(data) > _MOST_PICKLE_BYTES:
        unsafe.add(f"more than {_MOST_PICKLE_BYTES:,} bytes of pickle")
    file = io.BytesIO(data)
    while _scan(file, found, unsafe) and file.tell() < len(data):
        pass
    names = {f"{module}.{name}" for module, name in found}
    unsafe |= {f"{module}.{name}" for module, name in found if not _is_of_tensors(module, name)}
    return tuple(sorted(names)), tuple(sorted(unsafe))


def _scan(file: IO[bytes], found: set[tuple[str, str]], unsafe: set[str]) -> bool:
    """Note what the next pickle imports, and stop behind it; False where the bytes are no pickle.

    STACK_GLOBAL takes its name from the stack: it is believed where the two opcodes before it, besides those
    that only remember, put texts there; else the name could be another one, and it is unsafe.
    """
    pushed: list[str | None] = []  # by each opcode but those that remember
    memo: dict[int, str | None] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if argument == _LEGACY_TORCH:
                unsafe.add("a file as torch wrote it before its zip")
            if opcode.name == "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else None
                continue
            if opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(argument or 0)] = pushed[-1] if pushed else None
                continue
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                found.add((module, name))
            elif opcode.name == "STACK_GLOBAL":
                module_text, name_text = pushed[-2:] if len(pushed) > 1 else (None, None)
                if module_text is None or name_text is None:
                    unsafe.add("a name made while it is loaded")
                else:
                    found.add((module_text, name_text))
            elif opcode.name.startswith("EXT"):
                unsafe.add("an extension code")
            if "UNICODE" in opcode.name:
                pushed.append(str(argument))
            elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
                pushed.append(memo.get(int(argument or 0)))
            else:
                pushed.append(None)
    except Exception as error:  # genops raises what the bytes make it
        unsafe.add(f"bytes that are no pickle ({type(error).__name__})")
        return False
    return True


def _is_of_tensors(module: str, name: str) -> bool:
    storage = module in ("torch", "torch.storage") and name.removesuffix("Storage") in _STORAGES
    is_dtype = module == "torch" and name in ("float32", "float16", "bfloat16", "uint8", "int64")
    return (module, name) in _TENSORS or storage or is_dtype
