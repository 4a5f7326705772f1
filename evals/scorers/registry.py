"""Which scorers there are: built-in ones, entry points of `opswright.scorers`, the project's own files."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.entry_points import entry_points_of
from ...core.errors import AskError, BackendError, HeldError, OpswrightError, did_you_mean
from ...data.sample import Task
from ..judges.pairwise import pairwise_judge
from ..judges.rubric import rubric_judge
from . import constraints, guard, ragas_metrics, semantic, structured, text
from .base import BatchFunction, Need, ScoreFunction, Scorer, ScoringContext

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "opswright.scorers"


@dataclass(frozen=True)
class BuiltInScorer:
    """A scorer of ours: what makes its function, whether it is binary, and what a sample must have."""

    make: Callable[..., ScoreFunction | BatchFunction]
    is_binary: bool
    needs: Need | None = "target"
    asks_judge: bool = False

    @property
    def summary(self) -> str:
        """Its sentence."""
        return (self.make.__doc__ or "").strip().split("\n")[0]

    @property
    def parameters(self) -> list[str]:
        """What its YAML may set."""
        return list(inspect.signature(self.make).parameters)[1:]


def _judged(make: Callable[..., BatchFunction], needs: Need | None = None) -> BuiltInScorer:
    return BuiltInScorer(make, False, needs, asks_judge=True)


BUILT_IN: Mapping[str, BuiltInScorer] = {
    "exact_match": BuiltInScorer(text.exact_match, True),
    "known_label": BuiltInScorer(text.known_label, True, None),
    "normalised_match": BuiltInScorer(text.normalised_match, True),
    "contains": BuiltInScorer(text.contains, True, None),
    "regex": BuiltInScorer(text.regex, True, None),
    "numeric": BuiltInScorer(text.numeric, True),
    "choice": BuiltInScorer(text.choice, True, "choices"),
    "token_f1": BuiltInScorer(text.token_f1, False),
    "rouge_l": BuiltInScorer(text.rouge_l, False),
    "bleu": BuiltInScorer(text.bleu, False),
    "chrf": BuiltInScorer(text.chrf, False),
    "edit_similarity": BuiltInScorer(text.edit_similarity, False),
    "json_valid": BuiltInScorer(structured.json_valid, True, None),
    "json_schema": BuiltInScorer(structured.json_schema, True, None),
    "json_exact": BuiltInScorer(structured.json_exact, True),
    "json_field_f1": BuiltInScorer(structured.json_field_f1, False),
    "tool_name": BuiltInScorer(structured.tool_name, True),
    "embedding_similarity": BuiltInScorer(semantic.embedding_similarity, False),
    "constraints": BuiltInScorer(constraints.constraints, True, None),
    "constraints_share": BuiltInScorer(constraints.constraints_share, False, None),
    "guard_decision": BuiltInScorer(guard.guard_decision, True),
    "ragas_string_similarity": BuiltInScorer(ragas_metrics.ragas_string_similarity, False),
    "ragas_quoted_spans": BuiltInScorer(ragas_metrics.ragas_quoted_spans, False, "contexts"),
    "ragas_context_match_precision": BuiltInScorer(
        ragas_metrics.ragas_context_match_precision, False, "contexts"
    ),
    "ragas_context_match_recall": BuiltInScorer(ragas_metrics.ragas_context_match_recall, False, "contexts"),
    "ragas_faithfulness": _judged(ragas_metrics.ragas_faithfulness, "contexts"),
    "ragas_answer_relevancy": _judged(ragas_metrics.ragas_answer_relevancy),
    "ragas_context_precision": _judged(ragas_metrics.ragas_context_precision, "contexts"),
    "ragas_context_recall": _judged(ragas_metrics.ragas_context_recall, "contexts"),
    "ragas_factual_correctness": _judged(ragas_metrics.ragas_factual_correctness, "target"),
    "rubric_judge": _judged(rubric_judge),
    "pairwise_judge": _judged(pairwise_judge),
}

DEFAULT_SCORERS: Mapping[Task, tuple[str, ...]] = {
    "classify": ("exact_match", "known_label"),
    "generate": ("token_f1", "exact_match"),
    "chat": ("token_f1", "exact_match"),
    "answer": ("token_f1", "exact_match"),
    "extract": ("json_exact", "json_field_f1", "json_valid"),
    "choose": ("choice",),
}
"""The scorers of a suite that names none, by its task; the first is what the suite is judged by."""


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer as a suite names it: nothing of it is loaded yet.

    label: its name in reports, where a suite has one scorer twice. take: a pattern whose last match, or first
    group of it, is what is scored of an answer. file: the project's Python file that has it.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    take: str | None = None
    file: Path | None = None

    @property
    def asks_judge(self) -> bool:
        """Whether it sends answers to a judge."""
        return self.file is None and self.name in BUILT_IN and BUILT_IN[self.name].asks_judge

    @property
    def metric(self) -> str:
        """Its name in reports and gates."""
        return self.label or self.name

    def document(self) -> dict[str, Any]:
        """What of it a suite's digest is over; a file or a package is there with its code."""
        found: dict[str, Any] = {"name": self.name, "label": self.label, "take": self.take}
        found["parameters"] = {name: _written(value) for name, value in self.parameters.items()}
        if self.file is not None:
            found["code"] = hashlib.sha256(self.file.read_bytes()).hexdigest()
        elif (point := _installed(None).get(self.name)) is not None:
            found["code"] = _code_of(point.module.partition(".")[0])
        return found


def _written(value: object) -> str:
    """A parameter as a digest holds it: of a file its content."""
    return hashlib.sha256(value.read_bytes()).hexdigest() if isinstance(value, Path) else str(value)


@cache
def _code_of(package: str) -> str:
    """64 hex digits over the Python files of an installed package; none of them is run."""
    from importlib.util import find_spec

    found = find_spec(package)
    folders = [Path(one) for one in found.submodule_search_locations or ()] if found is not None else []
    files = {path.relative_to(folder).as_posix(): path for folder in folders for path in folder.rglob("*.py")}
    if found is not None and not folders and found.origin is not None:
        files = {package: Path(found.origin)}
    lines = (
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in sorted(files.items())
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def scorer_names(group: Iterable[EntryPoint] | None = None) -> list[str]:
    """Every scorer that a suite can name without a file."""
    return [*BUILT_IN, *sorted(_installed(group))]


def check_scorer_name(name: str, group: Iterable[EntryPoint] | None = None) -> None:
    """AskError, with the nearest name, for a scorer there is not; nothing is loaded."""
    if name not in BUILT_IN and name not in _installed(group):
        known = scorer_names(group)
        raise AskError(f"unknown scorer '{name}' (there are: {', '.join(known)}).{did_you_mean(name, known)}")


def load_scorer(
    spec: ScorerSpec,
    context: ScoringContext,
    trust: Path | None = None,
    group: Iterable[EntryPoint] | None = None,
) -> Scorer:
    """The scorer a suite names.

    trust: the folder whose Python files may be run; None: none. Raises AskError for an unknown scorer or a
    wrong parameter, HeldError for a file outside that folder, NeedsError for a package that is missing.
    """
    if spec.file is not None:
        made = _from_file(spec, spec.file, trust)
    elif spec.name in BUILT_IN:
        made = _built_in(spec, context)
    else:
        check_scorer_name(spec.name, group)
        made = _from_package(spec, _installed(group)[spec.name])
    if spec.take is not None:
        made = replace(made, take=text.pattern_finder(spec.take))
    return replace(made, name=spec.metric)


def _built_in(spec: ScorerSpec, context: ScoringContext) -> Scorer:
    from pydantic import ConfigDict, ValidationError, validate_call

    one = BUILT_IN[spec.name]
    if wrong := [name for name in spec.parameters if name not in one.parameters]:
        takes = f"it takes: {', '.join(one.parameters)}" if one.parameters else "it takes none"
        hint = did_you_mean(wrong[0], one.parameters)
        raise AskError(f"scorer {spec.name} has no parameter '{wrong[0]}' ({takes}).{hint}")
    make = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(partial(one.make, context))
    try:
        return Scorer(spec.name, make(**spec.parameters), one.is_binary, one.summary, one.needs)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise AskError(f"scorer {spec.name}: {faults}.") from error


def _from_package(spec: ScorerSpec, point: EntryPoint) -> Scorer:
    _without_parameters(spec)
    try:
        found = point.load()
    except Exception as error:  # another package's code
        raise BackendError(f"scorer '{spec.name}' of {point.value} does not load: {error}") from error
    return _declared(found, spec.name, point.value)


def _from_file(spec: ScorerSpec, file: Path, trust: Path | None) -> Scorer:
    """A scorer of a Python file: the file is run, so only below the folder that the asker trusts.

    It is compiled from what was read and hashed, and leaves no bytecode beside it.
    """
    _without_parameters(spec)
    here = check_trusted(spec.name, file, trust)
    try:
        source = here.read_bytes()
    except OSError as error:
        raise AskError(f"no scorer file at {file} ({error.strerror}). Check the path.") from error
    space: dict[str, Any] = {"__name__": f"opswright_project.{file.stem}", "__file__": str(here)}
    try:
        exec(compile(source, str(here), "exec"), space)
    except OpswrightError:
        raise
    except Exception as error:
        raise AskError(f"{file} does not run: {type(error).__name__}: {error}. Mend it.") from error
    if spec.name not in space:
        known = sorted(name for name, value in space.items() if isinstance(value, Scorer))
        raise AskError(
            f"no scorer '{spec.name}' in {file} (it has: {', '.join(known) or 'none'})."
            + did_you_mean(spec.name, known)
        )
    made = _declared(space[spec.name], spec.name, str(file))
    return replace(made, digest=hashlib.sha256(source).hexdigest())


def check_trusted(name: str, file: Path, trust: Path | None) -> Path:
    """Where a scorer's file lies, links followed; HeldError unless that is below the folder trusted."""
    here = file.resolve()
    if trust is None or not here.is_relative_to(trust.resolve()):
        raise HeldError(
            f"scorer '{name}' is Python code in {file}, and it runs only when its folder is trusted. "
            f"Read it, then name the folder: `trust={file.parent}`."
        )
    return here


def _without_parameters(spec: ScorerSpec) -> None:
    if spec.parameters:
        raise AskError(
            f"scorer '{spec.name}' takes no parameters (found: {', '.join(spec.parameters)}); only built-in "
            "ones do."
        )


def _declared(found: object, name: str, where: str) -> Scorer:
    if not isinstance(found, Scorer):
        raise AskError(
            f"'{name}' of {where} is not a scorer: decorate the function with `@scorer(binary=True)` from "
            "opswright.evals.scorers."
        )
    return found


def _installed(group: Iterable[EntryPoint] | None) -> dict[str, EntryPoint]:
    points = entry_points_of(GROUP) if group is None else group
    return {point.name: point for point in points if point.name not in BUILT_IN}


def default_specs(task: Task) -> Sequence[ScorerSpec]:
    """The scorers of a suite that names none."""
    if task not in DEFAULT_SCORERS:
        raise AskError(f"task '{task}' has no scorers of its own: name them in the suite.")
    return [ScorerSpec(name) for name in DEFAULT_SCORERS[task]]
