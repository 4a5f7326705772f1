"""A suite as a YAML file beside the data: read strictly, and every fault said with its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import AskError, did_you_mean
from ...core.strict_yaml import YamlText, read_yaml
from ...core.suite_source import is_suite_file
from ...data.sample import Sample, Task
from ..embedder_settings import EmbedderSettings
from ..judges.base import gold_of
from ..judges.settings import JudgeSettings
from ..lm_eval.scoring import check_metrics
from ..prompts import Prompt, draw_examples
from ..scorers import ScorerSpec, check_scorer_name, default_specs, right_answers
from ..templates import compile_template
from ..turns import Turns, each_turn
from .base import ChooseBy, Suite, in_slice
from .lm_eval_part import LmEvalPart, read_lm_eval
from .samples import read_file, written

SuiteTask = Literal["classify", "generate", "chat", "extract", "choose", "answer"]
_SIMILARITY = "embedding_similarity"
_DESCRIBING = ("name", "summary", "licence", "source", "slices", "min_items")
_SCORER_KEYS = ("name", "file", "label", "take")
LoadNamed = Callable[[str], Suite]
T = TypeVar("T")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplesPart(_Part):
    """Samples that are not written in the suite itself: of a file, or of another suite."""

    file: str | None = Field(None, description="File of samples, relative to the suite's.")
    columns: dict[str, Any] | None = Field(None, description="Which column of the file is what.")
    leave_out: bool = Field(False, description="Leave out the rows that cannot be taken.")
    suite: str | None = Field(None, description="Suite whose samples are taken.")
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="Only these values, by tag.")


class FewShotPart(_Part):
    """Answered examples before each question, from training data and never from the suite."""

    file: str = Field(description="File of samples, relative to the suite's.")
    columns: dict[str, Any] | None = Field(None, description="Which column of the file is what.")
    n: int = Field(ge=1, le=100, description="How many.")
    seed: int = Field(0, description="Which ones.")


class PromptPart(_Part):
    """What stands around a sample's messages."""

    system: str | None = Field(None, description="System message.")
    template: str | None = Field(None, description="Jinja for the last user message.")
    answer_prefix: str | None = Field(None, description="Between prompt and choice; empty: as in training.")
    few_shot: FewShotPart | None = None


class SlicesPart(_Part):
    """Parts of the samples that are measured by themselves."""

    by: tuple[str, ...] = Field((), description="Tags whose every value is a slice.")
    groups: dict[str, dict[str, tuple[str, ...]]] = Field(
        default_factory=dict, description="Named slices: values by tag, all of which must fit."
    )


class SuitePart(_Part):
    """A suite's file."""

    name: str | None = Field(None, description="Its name, which is the file's.")
    task: SuiteTask = Field("classify", description="What is asked; it decides defaults alone.")
    summary: str = ""
    licence: str = Field("", description="Licence of the samples.")
    source: str = Field("", description="Where the samples come from.")
    samples: list[Any] | SamplesPart | None = None
    lm_eval: LmEvalPart | None = Field(None, description="Task of lm-evaluation-harness that it is.")
    prompt: PromptPart = PromptPart()
    scorers: tuple[str | dict[str, Any], ...] = Field((), description="The first is what it is judged by.")
    slices: SlicesPart = SlicesPart()
    min_items: Annotated[int, Field(ge=1)] = 1
    choose_by: ChooseBy = "characters"
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    turns: Turns = Field("last", description="Which of a chat's turns are asked, and after which.")
    judge: JudgeSettings | None = Field(None, description="Whom scorers ask that need a judge.")
    embedder: EmbedderSettings | None = Field(None, description="Whom embedding_similarity asks for vectors.")


@dataclass(frozen=True)
class _Reader:
    """One file while it is read: faults are said with its line."""

    path: Path
    text: YamlText
    load_named: LoadNamed

    def error(self, place: str, message: str) -> AskError:
        """A fault at a dotted place of the file, or the nearest place above it that has a line."""
        while place and place not in self.text.lines:
            place = place.rpartition(".")[0]
        line = self.text.lines.get(place)
        return AskError(f"{self.path}{f', line {line}' if line else ''}: {message}")

    def at(self, place: str, call: Callable[..., T], *arguments: Any) -> T:
        """What a call gives; its AskError with the line of a place."""
        try:
            return call(*arguments)
        except AskError as error:
            raise self.error(place, str(error)) from error


def read_suite(path: Path, load_named: LoadNamed) -> Suite:
    """The suite of a YAML file; AskError with the line of what is wrong. No scorer's code is loaded.

    load_named: gives the suite that this one takes its samples from.
    """
    reader = _Reader(path, read_yaml(path, "suite file"), load_named)
    part = _parsed(reader)
    if part.name is not None and part.name != path.stem:
        raise reader.error(
            "name", f"the suite is called '{part.name}', its file '{path.stem}'. Give both one name."
        )
    if part.lm_eval is not None:
        return _of_lm_eval(reader, part, part.lm_eval)
    items = _samples(reader, part)
    if part.turns != "last":
        items = each_turn(items)
        if not items:
            raise reader.error("turns", "no sample has a turn of the assistant to ask for.")
    specs = tuple(_spec(reader, number, one) for number, one in enumerate(part.scorers))
    twice = [spec.metric for spec in specs if sum(spec.metric == one.metric for one in specs) > 1]
    if twice:
        raise reader.error("scorers", f"two scorers are called '{twice[0]}': give one a `label`.")
    suite = Suite(
        items=items,
        task=part.task,
        prompt=_prompt(reader, part, items),
        scorers=specs,
        choose_by=part.choose_by,
        max_new_tokens=part.max_new_tokens,
        judge=part.judge,
        turns=part.turns,
        embedder=part.embedder,
        **_described(path, part),
    )
    _check(reader, suite)
    return suite


def _described(path: Path, part: SuitePart) -> dict[str, Any]:
    """What any suite says of itself, whatever it asks."""
    return {
        "name": path.stem,
        "groups": {name: dict(values) for name, values in part.slices.groups.items()},
        "slice_tags": part.slices.by,
        "min_items": part.min_items,
        "summary": part.summary,
        "licence": part.licence,
        "source": part.source,
        "file": path,
    }


def _of_lm_eval(reader: _Reader, part: SuitePart, task: LmEvalPart) -> Suite:
    """The suite of a task, which decides itself what is asked and how; only slices and scorers are chosen."""
    known = {*_DESCRIBING, "lm_eval", "scorers"}
    if more := sorted(set(reader.text.data) - known):
        raise reader.error(
            more[0], f"a task of lm-evaluation-harness decides `{more[0]}` itself: take it out."
        )
    named = {tag for values in part.slices.groups.values() for tag in values}
    given = reader.at("lm_eval", read_lm_eval, reader.path, task, sorted({*part.slices.by, *named}))
    if part.scorers:
        specs = tuple(_metric_spec(reader, number, one) for number, one in enumerate(part.scorers))
        reader.at("scorers", check_metrics, given["lm_eval"], [spec.name for spec in specs])
        given["scorers"] = specs
    suite = Suite(**given, **_described(reader.path, part))
    _check(reader, suite)
    return suite


def _metric_spec(reader: _Reader, number: int, given: str | Mapping[str, Any]) -> ScorerSpec:
    if not isinstance(given, str):
        raise reader.error(
            f"scorers.{number}", "of a task of lm-evaluation-harness a scorer is a metric's name."
        )
    return ScorerSpec(given)


def _parsed(reader: _Reader) -> SuitePart:
    if not isinstance(reader.text.data, dict):
        raise AskError(f"{reader.path} is no suite: it needs at least `samples`.")
    try:
        return SuitePart.model_validate(reader.text.data)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(one) for one in first["loc"] if str(one) not in ("list[any]", "SamplesPart", "str")]
        place = [one for one in place if not one.startswith(("dict[", "literal["))]
        message = f"{'.'.join(place)}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            known = _names_at(place)
            message = (
                f"unknown name '{place[-1]}' (known: {', '.join(known)}).{did_you_mean(place[-1], known)}"
            )
        elif first["type"] == "missing":
            message = f"'{'.'.join(place)}' is missing."
        raise reader.error(".".join(place), message) from error


def _names_at(place: list[str]) -> list[str]:
    """What may stand beside a name in a suite's file."""
    parts: dict[str, type[BaseModel]] = {
        "samples": SamplesPart,
        "prompt": PromptPart,
        "few_shot": FewShotPart,
        "slices": SlicesPart,
        "judge": JudgeSettings,
        "lm_eval": LmEvalPart,
        "embedder": EmbedderSettings,
    }
    return list(parts.get(place[-2] if len(place) > 1 else "", SuitePart).model_fields)


def _samples(reader: _Reader, part: SuitePart) -> tuple[Sample, ...]:
    if part.samples is None:
        raise reader.error("", "'samples' is missing.")
    if isinstance(part.samples, list):
        items = [
            reader.at(f"samples.{number}", written, one, f"{number:05d}")
            for number, one in enumerate(part.samples)
        ]
    else:
        items = _from_elsewhere(reader, part.samples, part)
    if not items:
        raise reader.error("samples", "the suite has no samples.")
    seen: dict[str, int] = {}
    for number, item in enumerate(items):
        if item.id in seen:
            place = f"samples.{number}"
            raise reader.error(place, f"two samples have the id '{item.id}' (numbers {seen[item.id] + 1} and "
                                      f"{number + 1}). Give each its own.")  # fmt: skip
        seen[item.id] = number
    return tuple(items)


def _from_elsewhere(reader: _Reader, part: SamplesPart, whole: SuitePart) -> list[Sample]:
    if (part.file is None) == (part.suite is None):
        raise reader.error(
            "samples", "samples are a list, or of a `file`, or of another `suite`: one of these."
        )
    if part.suite is not None:
        if is_suite_file(part.suite):  # what that file names would not be part of a plan's id
            raise reader.error(
                "samples.suite",
                f"'{part.suite}' is a file: `suite` takes the name of a shipped or installed suite. Name a "
                "file of samples by `file`.",
            )
        source: Suite = reader.at("samples.suite", reader.load_named, part.suite)
    else:
        file = reader.path.parent / str(part.file)
        named = {tag for values in whole.slices.groups.values() for tag in values}
        tags = sorted({*whole.slices.by, *part.where, *named})
        items = reader.at(
            "samples.file", read_file, file, part.columns, tags, _task_read(whole), part.leave_out
        )
        source = Suite(reader.path.stem, tuple(items))
    for tag, values in part.where.items():
        reader.at(f"samples.where.{tag}", source.check_values, tag, values, "where")
    rule = {tag: frozenset(values) for tag, values in part.where.items()}
    return [item for item in source.items if in_slice(item, rule)]


def _task_read(part: SuitePart) -> Task | None:
    """The task as which a file is read: a choice has choices, all else its text and target."""
    return "choose" if part.task == "choose" else None


def _prompt(reader: _Reader, part: SuitePart, items: tuple[Sample, ...]) -> Prompt:
    given = part.prompt
    if given.template is not None:
        reader.at("prompt.template", compile_template, given.template)
    examples: tuple[Sample, ...] = ()
    if (shots := given.few_shot) is not None:
        file = reader.path.parent / shots.file
        pool = reader.at("prompt.few_shot.file", read_file, file, shots.columns)
        examples = reader.at("prompt.few_shot", draw_examples, pool, shots.n, shots.seed, items)
    return Prompt(given.system, given.template, examples, given.answer_prefix)


def _spec(reader: _Reader, number: int, given: str | Mapping[str, Any]) -> ScorerSpec:
    place = f"scorers.{number}"
    if isinstance(given, str):
        given = {"name": given}
    name = given.get("name")
    if not isinstance(name, str):
        raise reader.error(place, "a scorer is a name, or a mapping with a `name`.")
    for key in ("file", "label", "take"):
        if not isinstance(given.get(key, ""), str):
            raise reader.error(f"{place}.{key}", f"'{key}' of scorer {name} is a text.")
    file = None
    if "file" in given:
        file = reader.path.parent / given["file"]
        if not file.is_file():
            raise reader.error(f"{place}.file", f"no scorer file at {file}. Check the path.")
    else:
        reader.at(place, check_scorer_name, name)
    parameters = {
        key: _file_beside(reader, f"{place}.{key}", value)
        for key, value in given.items()
        if key not in _SCORER_KEYS
    }
    return ScorerSpec(name, parameters, str(given.get("label", "")), given.get("take"), file)


def _file_beside(reader: _Reader, place: str, value: Any) -> Any:
    """A parameter; one that is `{file: NAME}` is the path of that file, relative to the suite's."""
    if not isinstance(value, Mapping) or set(value) != {"file"} or not isinstance(value["file"], str):
        return value
    file = reader.path.parent / value["file"]
    if not file.is_file():
        raise reader.error(place, f"no file at {file}. Check the path.")
    return file


def _check(reader: _Reader, suite: Suite) -> None:
    """What can only be known of the whole: slices that fit, answers to score, a template for each sample."""
    reader.at("task", default_specs, suite.task)
    if suite.judge is not None and not suite.asks_judge:
        raise reader.error("judge", "a judge is named, and no scorer asks one. Add one, or take it out.")
    if suite.embedder is not None and not any(spec.name == _SIMILARITY for spec in suite.specs):
        raise reader.error(
            "embedder", f"an embedder is named, and no {_SIMILARITY} asks it. Add it, or take it out."
        )
    for tag in suite.slice_tags:
        reader.at("slices.by", suite.check_values, tag, (), "slices.by")
    for name, values in suite.groups.items():
        reader.at(f"slices.groups.{name}", suite.slices, {name: values})
    of_values = Suite(suite.name, suite.items, slice_tags=suite.slice_tags).slices()
    if clash := next((name for name in suite.groups if name in of_values), None):
        raise reader.error(f"slices.groups.{clash}", f"two slices are called '{clash}'.")
    for number, item in enumerate(suite.items):
        reader.at(f"samples.{number}", suite.prompt.chat, item)
        reader.at(f"samples.{number}", gold_of, item)
        if suite.task == "choose" and len(item.choices) < 2:
            raise reader.error(f"samples.{number}", f"sample '{item.id}' has fewer than two choices.")
    if suite.task == "classify" and not any(right_answers(item) for item in suite.items):
        raise reader.error("samples", "no sample has a right answer, so nothing can be classified right.")
    if len(suite.items) < suite.min_items:
        raise reader.error(
            "min_items",
            f"the suite has {len(suite.items)} samples, fewer than its min_items {suite.min_items}.",
        )
