"""The init container of a pod: `python -m opswright.serving.kubernetes.fetch triton|gateway ...`.

It brings a release's files from where they lie, and checks each against the digest that the release names.
What it wrote is what runs: nothing reads the source afterwards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ...core.artifact_refs import ArtifactRef
from ...core.artifacts import ArtifactStore
from ...core.errors import AskError, BackendError, OpswrightError
from ...core.files import PRIVATE, canonical_json, write_atomically
from ..releases import EndpointState, Release
from ..server import ServedModel
from ..server_selection import threads_for
from ..triton.repository import ModelRepository

_KEYS = "keys.json"


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
    if (engine / "triton.sh").is_file():
        for child in engine.iterdir():
            _replace(child, into / child.name)
        return
    served = ServedModel(model, release.number, engine, release.id, release.engine)
    repository = ModelRepository(into / "repository")
    repository.clear()
    repository.write(served, min(threads, threads_for(served)))


def lay_gateway(state: EndpointState, source: str, into: Path, keys: Path | None) -> None:
    """A workspace that serves this release alone: its rails, its keys, what is desired."""
    release = _release_of(state)
    if release.guardrails is not None:
        fetch(release.guardrails, source, into / "artifacts")
    if keys is not None:
        write_atomically(into / _KEYS, keys.read_bytes(), PRIVATE)
    desired = into / "endpoints" / state.endpoint / "desired.json"
    write_atomically(desired, canonical_json(state.model_dump(mode="json")))


def fetch(ref: ArtifactRef, source: str, into: Path) -> Path:
    """Copy an artifact and check every file of it; the folder of its files.

    IntegrityError when the source holds something else under that digest.
    """
    import fsspec

    target = into / ref.kind / ref.digest
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    address = f"{source.rstrip('/')}/{ref.kind}/{ref.digest}"
    try:
        system, path = fsspec.core.url_to_fs(address)
        if not system.isfile(f"{path}/artifact.json"):
            raise AskError(f"no {ref.short} at {address}. Copy the workspace's artifacts there.")
        system.get(f"{path}/", f"{target}/", recursive=True)
    except (ImportError, FileNotFoundError, PermissionError, OSError) as error:
        raise BackendError(f"cannot fetch {address}: {error}") from error
    return ArtifactStore(into).open(ref).path


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
