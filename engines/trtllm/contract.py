"""The part of TensorRT-LLM's interface that is written here, and whether something written keeps to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...core.strict_yaml import read_yaml

FILE = Path(__file__).parent / "contract.yaml"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "text": (str,),
    "path": (str,),
    "choice": (str,),
}


@dataclass(frozen=True)
class Term:
    """What one option or setting takes: a type and, for a choice, the words."""

    type: str
    choices: tuple[str, ...] = ()

    def fault(self, value: object) -> str:
        """Why it does not take a value; empty when it does."""
        fits = isinstance(value, _TYPES[self.type])
        if isinstance(value, bool) and self.type != "boolean":
            fits = False
        if not fits:
            return f"{value!r} is no {self.type}"
        if self.choices and value not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        return ""


@dataclass(frozen=True)
class Tensor:
    """A tensor of Triton's model: its type in Triton's words, and its one dimension (-1: any)."""

    name: str
    type: str
    dims: int
    is_optional: bool = False


@dataclass(frozen=True)
class Contract:
    """Options of trtllm-serve, settings of the LLM API, those that Triton's model adds, and its tensors."""

    serve: Mapping[str, Term]
    llm_api: Mapping[str, Term]
    triton: Mapping[str, Term]
    engines: Mapping[str, Term]
    engine_flags: Sequence[str]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    def command_faults(self, words: Sequence[str]) -> list[str]:
        """What is wrong with the options of a trtllm-serve command, without its name and model."""
        return _faults(words, self.serve)

    def engine_faults(self, words: Sequence[str]) -> list[str]:
        """What is wrong with the options of convert_checkpoint.py or trtllm-build."""
        return _faults([word for word in words if word not in self.engine_flags], self.engines)

    def settings_faults(self, values: Mapping[str, Any], *, of_triton: bool = False) -> list[str]:
        """What is wrong with the settings of the LLM API, or of a model.yaml of Triton's."""
        known = {**self.llm_api, **(self.triton if of_triton else {})}
        faults = []
        for path, value in flat(values):
            term = known.get(path)
            if term is None:
                faults.append(f"{path} is no setting that is known")
            elif fault := term.fault(value):
                faults.append(f"{path}: {fault}")
        return faults


def _faults(words: Sequence[str], known: Mapping[str, Term]) -> list[str]:
    """What is wrong with options that each take a value."""
    faults = []
    pairs = iter(words)
    for option in pairs:
        term, value = known.get(option), next(pairs, None)
        if term is None:
            faults.append(f"{option} is no option that is known")
        elif value is None:
            faults.append(f"{option} has no value")
        elif fault := term.fault(_read(term, value)):
            faults.append(f"{option}: {fault}")
    return faults


def flat(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Each value by its dotted path."""
    for name, value in values.items():
        path = f"{at}.{name}" if at else name
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value


@cache
def contract() -> Contract:
    """The contract as it is written down."""
    read = read_yaml(FILE, "contract").data
    return Contract(
        serve=_terms(read["serve"]["options"]),
        llm_api=_terms(read["llm_api"]["settings"]),
        triton=_terms(read["triton"]["settings"]),
        engines=_terms(read["engines"]["options"]),
        engine_flags=tuple(read["engines"]["flags"]),
        inputs=_tensors(read["tensors"]["inputs"]),
        outputs=_tensors(read["tensors"]["outputs"]),
    )


def _tensors(read: Mapping[str, Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, one["type"], one["dims"], one.get("optional", False)) for name, one in read.items()
    )


def _terms(read: Mapping[str, Any]) -> dict[str, Term]:
    return {name: Term(one["type"], tuple(one.get("choices", ()))) for name, one in read.items()}


def _read(term: Term, word: str) -> object:
    """A word of a command line as what it stands for."""
    kinds: Mapping[str, type] = {"integer": int, "number": float}
    try:
        return kinds[term.type](word) if term.type in kinds else word
    except ValueError:
        return word
