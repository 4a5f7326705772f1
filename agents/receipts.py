"""Receipts: what a finished call gave, so that the same call need not be made again.

Two calls are the same when skill, arguments, digests of outside inputs, code, versions and device are. A
receipt is believed only when the ledger record it names, by number and hash, is of that very call.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.artifact_refs import parse_ref
from ..core.contract import Skill
from ..core.errors import OpswrightError
from ..core.files import PRIVATE, canonical_json, files_below, sha256_file, sha256_json, write_atomically
from ..core.machine import Machine
from ..core.workspace import Workspace
from ..record.environment import environment_facts
from ..record.ledger import Ledger, Phase, Record

_LAYERS = ("core", "data", "compute", "engines", "evals", "serving", "skills")  # what results come from


def receipt_key(
    skill: Skill[Any, Any], arguments: Mapping[str, Any], inputs: Mapping[str, str], workspace: Workspace
) -> str:
    """What makes two calls the same, as one digest."""
    return sha256_json(
        [
            skill.name,
            arguments,
            inputs,
            code_version(skill.function.__module__),
            _versions(),
            _device(workspace),
        ]
    )


def write_receipt(workspace: Workspace, key: str, record: Record) -> None:
    """Keep what a finished call gave."""
    receipt = {
        "seq": record.seq,
        "hash": record.hash,
        "result": record.detail["result"],
        "artifacts": dict(record.artifacts),
    }
    write_atomically(
        _path(workspace, key), canonical_json({**receipt, "digest": sha256_json(receipt)}), PRIVATE
    )


def find_receipt(workspace: Workspace, skill: str, key: str) -> Record | None:
    """The record of the same call done before, when the ledger has it as the receipt says."""
    try:
        receipt = json.loads(_path(workspace, key).read_bytes())
        record = Ledger.of(workspace).get(int(receipt["seq"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if record is None or record.phase != Phase.DONE or record.skill != skill:
        return None
    told = (receipt.get("hash"), receipt.get("result"), receipt.get("artifacts"))
    same = told == (record.hash, record.detail.get("result"), dict(record.artifacts))
    return record if same and record.detail.get("key") == key else None


def is_whole(workspace: Workspace, record: Record) -> str | None:
    """Why a record's artifacts cannot be used any more; None when all are there and whole."""
    try:
        for ref in record.artifacts.values():
            workspace.artifacts.open(parse_ref(ref))
    except OpswrightError as error:
        return str(error)
    return None


@cache
def code_version(module: str) -> str:
    """The digest of the Python sources of a module's top-level package, all of its folders.

    Coarse on purpose: any change of the code makes receipts stale, none can slip through. Of Opswright itself
    only what results can come from counts.
    """
    package = import_module(module.partition(".")[0])
    if package.__file__ is None or not hasattr(package, "__path__"):
        source = import_module(module).__file__
        return sha256_file(Path(source)) if source else module
    root = Path(package.__file__).parent
    folders = [root / name for name in _LAYERS] if package.__name__ == __name__.partition(".")[0] else [root]
    return sha256_json(
        {
            path.relative_to(root).as_posix(): sha256_file(path)
            for folder in folders
            if folder.is_dir()
            for path in files_below(folder).values()
            if path.suffix == ".py"
        }
    )


@cache
def _versions() -> dict[str, str]:
    """The versions of what computes; a patch of the operating system does not count."""
    return {name: text for name, text in environment_facts().items() if name != "platform"}


def _device(workspace: Workspace) -> dict[str, Any]:
    """What kind of machine computes."""
    gpus = [gpu.name for gpu in _machine(workspace.root).gpus]
    return {"processor": platform.machine(), "gpus": gpus, "device": workspace.settings.train.device}


@cache
def _machine(folder: Path) -> Machine:
    return Machine.here(folder)


def _path(workspace: Workspace, key: str) -> Path:
    return workspace.receipts / f"{key}.json"
