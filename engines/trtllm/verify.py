"""Is the contract true of a TensorRT-LLM that is installed? Its options and settings held against ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BackendError, NeedsError
from . import contract_worker
from .contract import Contract, Term
from .known import versions

_TIMEOUT_S = 600
_SHOWN_LINES = 6
_CLICK = {"float": "number", "float range": "number", "integer range": "integer", "file": "path"}
_CLICK |= {"directory": "path", "filename": "path"}
_TAKES = {  # what stands for each type of ours in click and in a JSON schema
    "integer": {"integer", "number"},
    "number": {"number"},
    "boolean": {"boolean"},
    "text": {"text", "string", "path"},
    "path": {"path", "text", "string"},
    "choice": {"choice", "text", "string"},
}


@dataclass(frozen=True)
class Verification:
    """What was compared, with which version, and each difference in words."""

    version: str
    options: int
    settings: int
    differences: tuple[str, ...]


def verify(python: str, agreed: Contract) -> Verification:
    """Compare the contract with what a Python's tensorrt_llm takes.

    Raises NeedsError where it has none, BackendError where it does not import or describe itself.
    """
    found = _described(python)
    differences = [
        *_of_options(agreed.serve, found["serve"]),
        *_of_settings(agreed.llm_api, found["llm_api"]),
    ]
    return Verification(found["version"], len(agreed.serve), len(agreed.llm_api), tuple(differences))


def _described(python: str) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="opswright-contract-") as folder:
        file = Path(folder, "found.json")
        command = [python, "-P", "-X", "utf8", str(Path(contract_worker.__file__)), str(file)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
            )
        except OSError as error:
            raise NeedsError(f"{python} cannot be run: {error}. Name one that has TensorRT-LLM.") from error
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"importing TensorRT-LLM took more than {_TIMEOUT_S} s.") from error
        if "No module named 'tensorrt_llm'" in done.stderr:
            image = f"nvcr.io/nvidia/tensorrt-llm/release:{versions().stable}"
            raise NeedsError(
                f"TensorRT-LLM is not installed for {python}, so nothing is compared. Run this in its "
                f"container ({image}), or name a Python that has it by --python."
            )
        if done.returncode != 0:
            said = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
            raise BackendError(f"TensorRT-LLM does not say what it takes (exit {done.returncode}):\n{said}")
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="ascii"))
    return found


def _of_options(agreed: Mapping[str, Term], found: Mapping[str, Any]) -> Iterator[str]:
    for name, term in agreed.items():
        option = found.get(name)
        if option is None:
            yield f"trtllm-serve has no option {name}"
            continue
        kind = _CLICK.get(option["type"], option["type"])
        yield from _difference(f"option {name}", term, [(kind, tuple(option["choices"]))])


def _of_settings(agreed: Mapping[str, Term], schema: Mapping[str, Any]) -> Iterator[str]:
    for path, term in agreed.items():
        nodes = [schema]
        for name in path.split("."):
            nodes = [
                one["properties"][name]
                for node in nodes
                for one in _alternatives(node, schema)
                if name in one.get("properties", {})
            ]
        if not nodes:
            yield f"the LLM API has no setting {path}"
            continue
        kinds = [_kind(one) for node in nodes for one in _alternatives(node, schema)]
        if None not in kinds:  # a setting of any type takes ours too
            yield from _difference(f"setting {path}", term, [kind for kind in kinds if kind is not None])


def _alternatives(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The forms that a part of a JSON schema allows, references followed."""
    if "$ref" in node:
        yield from _alternatives(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
        return
    inner = [one for key in ("anyOf", "oneOf", "allOf") for one in node.get(key, ())]
    for one in inner:
        yield from _alternatives(one, schema)
    if not inner:
        yield node


def _kind(node: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """The type of a form and the words it takes; None where it takes any."""
    words = node.get("enum", [node["const"]] if "const" in node else [])
    if words:
        return "choice", tuple(map(str, words))
    return (node["type"], ()) if "type" in node else None


def _difference(what: str, term: Term, kinds: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    fitting = [words for kind, words in kinds if kind in _TAKES[term.type]]
    if not fitting:
        yield f"{what} takes {' or '.join(sorted({kind for kind, _ in kinds}))}, not {term.type}"
        return
    limited = [words for words in fitting if words]
    if len(limited) < len(fitting):
        return  # one form takes any word
    if unknown := set(term.choices) - {word for words in limited for word in words}:
        yield f"{what} does not take {', '.join(sorted(unknown))}"
