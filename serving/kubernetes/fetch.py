"""The init container of a pod: `python -m opswright.serving.kubernetes.fetch triton|gateway ...`.

It brings a release's files from where they lie, and checks each against the digest that the release names.
What it wrote is what runs: nothing reads the source afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.artifact_refs import ArtifactRef
from ...core.artifacts import ArtifactStore
from ...core.errors import AskError, BackendError, IntegrityError, OpswrightError
from ...core.files import PRIVATE, canonical_json, sha256_file, write_atomically
from ...engines.registry import engine_target
from ...engines.triton_text import ModelPlace
from ...engines.trtllm.layout import REPOSITORY, TRITON_SCRIPT
from ..releases import EndpointState, Release
from ..server import ServedModel
from ..server_selection import threads_for
from ..triton.repository import ModelRepository

_KEYS = "keys.json"
_WEIGHTS = ".safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch for one part; the exit code."""
    parser = argparse.ArgumentParser(prog="opswright.serving.kubernetes.fetch", description=__doc__)
    parser.add_argument("part", choices=["triton", "gateway"])
    parser.add_argument("--release", type=Path, required=True, help="The release, as manifests hold it.")
    parser.add_argument("--source", required=True, help="Folder or address that holds `artifacts`.")
    parser.add_argument("--into", type=Path, required=True, help="Folder for the files.")
    parser.add_argument("--keys", type=Path, help="The keys file of the gateway.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of an engine, at most.")
    options = parser.parse_args(arguments)
    try:
        document = json.loads(options.release.read_text(encoding="utf-8"))
        state = EndpointState.model_validate(document["state"])
        if options.part == "gateway":
            lay_gateway(state, options.source, options.into, options.keys)
        else:
            lay_triton(state, document["model"], options.source, options.into, options.threads)
    except (OpswrightError, OSError, ValueError, KeyError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def lay_triton(state: EndpointState, model: str, source: str, into: Path, threads: int) -> None:
    """The engine and its model repository; for GPUs, the bundle's own folder with its start script."""
    release = _release_of(state)
    engine = fetch(release.bundle, source, into / "artifacts") / "engine"
    if (engine / TRITON_SCRIPT).is_file():
        config = _config_that_names(release, model, engine)
        for child in engine.iterdir():
            _replace(child, into / child.name)
        (into / TRITON_SCRIPT).chmod(0o755)  # stores of objects keep no modes
        if config is not None:
            (into / REPOSITORY / model / "config.pbtxt").write_text(config, encoding="utf-8")
        return
    served = ServedModel(model, release.number, engine, release.id, release.engine)
    repository = ModelRepository(into / "repository")
    repository.clear()
    repository.write(served, min(threads, threads_for(served)))


def _config_that_names(release: Release, model: str, engine: Path) -> str | None:
    """The config of a model whose answers name no release, with the release in it; None for any other."""
    opener = engine_target(release.engine).triton_text
    return opener(engine).config(ModelPlace(model, release.id, "", Path())) if opener is not None else None


def lay_gateway(state: EndpointState, source: str, into: Path, keys: Path | None) -> None:
    """A workspace that serves this release alone: its rails, its keys, what is desired."""
    release = _release_of(state)
    if release.guardrails is not None:
        fetch(release.guardrails, source, into / "artifacts")
    if engine_target(release.engine).triton_text is not None:  # prompts are rendered by the gateway
        fetch_part(release.bundle, source, into / "artifacts", lambda name: not name.endswith(_WEIGHTS))
    if keys is not None:
        write_atomically(into / _KEYS, keys.read_bytes(), PRIVATE)
    desired = into / "endpoints" / state.endpoint / "desired.json"
    write_atomically(desired, canonical_json(state.model_dump(mode="json")))


def fetch(ref: ArtifactRef, source: str, into: Path) -> Path:
    """Copy an artifact and check every file of it; the folder of its files.

    IntegrityError when the source holds something else under that digest.
    """
    _copy(ref, source, into, lambda name: True)
    return ArtifactStore(into).open(ref).path


def fetch_part(ref: ArtifactRef, source: str, into: Path, is_wanted: Callable[[str], bool]) -> Path:
    """Copy the files of an artifact whose names are wanted, each checked; the folder of its files.

    What is left out makes it no artifact that `ArtifactStore.open` would take. IntegrityError as of `fetch`.
    """
    for file, entry in _copy(ref, source, into, is_wanted).items():
        if sha256_file(file) != entry["sha256"]:
            name = file.name
            raise IntegrityError(f"{ref.short} was altered: {name} does not match its recorded SHA-256.")
    return into / ref.kind / ref.digest / "files"


def _copy(
    ref: ArtifactRef, source: str, into: Path, is_wanted: Callable[[str], bool]
) -> dict[Path, dict[str, Any]]:
    """Bring what the manifest names and is wanted, and nothing else; by file, what it says of it."""
    target = _emptied(ref, into)
    with _reading(ref, source) as (system, path):
        system.get_file(f"{path}/artifact.json", str(target / "artifact.json"))
        manifest = (target / "artifact.json").read_bytes()
        if hashlib.sha256(manifest).hexdigest() != ref.digest:
            raise IntegrityError(f"{ref.short} was altered: artifact.json does not match its digest.")
        named = {name: entry for name, entry in json.loads(manifest)["files"].items() if is_wanted(name)}
        files = {_place(ref, target, name): entry for name, entry in named.items()}
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        system.get([f"{path}/files/{name}" for name in named], [str(file) for file in files])
    return files


def _place(ref: ArtifactRef, target: Path, name: str) -> Path:
    """Where a file of an artifact goes; IntegrityError for a name that leads out of it."""
    if not name or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise IntegrityError(f"{ref.short} names a file that is none of its own: {name[:80]!r}.")
    return target / "files" / name


def _emptied(ref: ArtifactRef, into: Path) -> Path:
    target = into / ref.kind / ref.digest
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    return target


@contextmanager
def _reading(ref: ArtifactRef, source: str) -> Iterator[tuple[Any, str]]:
    """The file system of an artifact's address and its path there; BackendError for what cannot be read."""
    import fsspec

    address = f"{source.rstrip('/')}/{ref.kind}/{ref.digest}"
    try:
        system, path = fsspec.core.url_to_fs(address)
        if not system.isfile(f"{path}/artifact.json"):
            raise AskError(f"no {ref.short} at {address}. Copy the workspace's artifacts there.")
        yield system, path
    except (ImportError, FileNotFoundError, PermissionError, OSError) as error:
        raise BackendError(f"cannot fetch {address}: {error}") from error


def _release_of(state: EndpointState) -> Release:
    if state.stable is None:
        raise AskError(f"the release of endpoint {state.endpoint} says nothing of what to serve.")
    return state.stable


def _replace(source: Path, target: Path) -> None:
    """Move a file or folder to a place of this disk, in place of what an earlier start left."""
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


if __name__ == "__main__":
    sys.exit(main())
