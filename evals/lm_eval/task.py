"""A task of lm-evaluation-harness as it was built: a file of requests, and what scores the answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import AskError, HeldError
from ...core.explain import explain
from ...core.files import sha256_path
from ...data.sample import Sample, Task
from ...engines import Chat
from ..prompts import Prompt
from .worker import digest_of

Kind = Literal["generate_until", "loglikelihood", "loglikelihood_rolling", "multiple_choice"]
Asked = tuple[Any, str]
"""A context, text or messages, and a continuation; empty where the model is to generate."""

METADATA = "lm_eval"
_SHARES = frozenset(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"))
PERPLEXITIES = frozenset(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskMetric(_Part):
    """One metric of one filter. mean: the whole's value is the mean of the items'."""

    metric: str
    filter: str
    mean: bool
    higher_is_better: bool
    own: bool

    @property
    def key(self) -> str:
        """Its name in lm-evaluation-harness's own results."""
        return f"{self.metric},{self.filter}"

    @property
    def is_binary(self) -> bool:
        """Whether it gives 0 and 1 alone."""
        return self.metric in _SHARES and not self.own

    @property
    def is_per_item(self) -> bool:
        """Whether an item has a score by it, so that models can be compared item by item."""
        return (self.mean and self.higher_is_better) or (self.metric in PERPLEXITIES and not self.own)


class AnswerEnd(_Part):
    """When an answer ends."""

    until: tuple[str, ...] = ()
    max_tokens: int = 256


class BuiltTask(_Part):
    """What a task was built from and how it is asked: the first line of its file of requests."""

    task: str
    version: str = Field(description="Of lm-evaluation-harness.")
    kind: Kind
    chat: bool = Field(description="Whether prompts are chats; else plain text.")
    shots: int | None
    generation: AnswerEnd
    metrics: tuple[TaskMetric, ...]

    def scored_by(self) -> dict[str, TaskMetric]:
        """The metrics by which an item has a score, by their names in reports."""
        several = len({one.filter for one in self.metrics}) > 1
        return {_name(one, several): one for one in self.metrics if one.is_per_item}


def _name(one: TaskMetric, several: bool) -> str:
    """A perplexity's score is its inverse, 0 to 1, and is called so."""
    metric = f"inverse_{one.metric}" if one.metric in PERPLEXITIES else one.metric
    return f"{metric},{one.filter}" if several else metric


@dataclass(frozen=True)
class LmEvalTask:
    """A built task beside what built it.

    folder: of its YAML files, data and code; None: it is lm-evaluation-harness's own. data: files in place of
    its own data, by split. digest: of the requests.
    """

    built: BuiltTask
    digest: str
    folder: Path | None = None
    data: Mapping[str, Path] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What of it a suite's digest is over, besides the items."""
        files = {} if self.folder is None else {"folder": sha256_path(self.folder)}
        data = {split: sha256_path(file) for split, file in self.data.items()}
        return {**self.built.model_dump(mode="json"), **files, "data": data}

    def asked(self) -> dict[str, Any]:
        """What the worker is told of it."""
        return asked_of_worker(self.built.task, self.folder, self.data, self.built.chat, self.built.shots)

    def check_trusted(self, trust: Path | None) -> None:
        """HeldError unless the task's folder is trusted; lm-evaluation-harness's own tasks need no trust."""
        if self.folder is not None:
            check_folder_trusted(self.built.task, self.folder, trust)


def asked_of_worker(
    task: str, folder: Path | None, data: Mapping[str, Path], chat: bool, shots: int | None
) -> dict[str, Any]:
    """What the worker is told of a task."""
    return {
        "task": task,
        "folder": None if folder is None else str(folder.resolve()),
        "data": {split: str(file.resolve()) for split, file in data.items()},
        "chat": chat,
        "shots": shots,
    }


def check_folder_trusted(task: str, folder: Path, trust: Path | None) -> None:
    """HeldError unless a task's folder, links followed, is below the one that is trusted."""
    if trust is None or not folder.resolve().is_relative_to(trust.resolve()):
        raise HeldError(
            f"task '{task}' runs code of {folder}: functions of its files, and templates outside a sandbox. "
            f"That runs only when its folder is trusted. Read it, then name the folder: `trust={folder}`."
        )


@dataclass(frozen=True)
class BuiltPrompt(Prompt):
    """Prompts as lm-evaluation-harness built them, examples in them. plain: text without a chat template."""

    plain: bool = False

    def chat(self, sample: Sample) -> Chat:
        """What a model gets; plain text is one message of it."""
        return as_chat(requests_of(sample)[0][0])

    def document(self) -> dict[str, Any]:
        """What a suite's digest is over."""
        return {**super().document(), "plain": self.plain}


def as_chat(context: Any) -> Chat:
    """A context as engines take it."""
    if isinstance(context, str):
        return ({"role": "user", "content": context},)
    return tuple(context)


def requests_of(sample: Sample) -> Sequence[Asked]:
    """What a model is asked about an item."""
    found: Sequence[Asked] = sample.metadata[METADATA]["asked"]
    return found


def write_requests(path: Path, built: BuiltTask, items: Iterable[Mapping[str, Any]]) -> None:
    """A built task as a file: its first line says what it is, each other one is an item."""
    lines = [built.model_dump(mode="json"), *items]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="ascii")


def read_requests(path: Path, tags: Collection[str]) -> tuple[BuiltTask, str, tuple[Sample, ...]]:
    """A file of requests: what was built, the digest of the items, and the items.

    tags: fields of the task's documents that are tags. AskError for a file that is not one of ours.
    """
    try:
        head, *items = [json.loads(line) for line in path.read_text(encoding="ascii").split("\n") if line]
        built = BuiltTask.model_validate(head)
        return built, digest_of(items), tuple(_sample(item, tags) for item in items)
    except ValidationError as error:
        why = "; ".join(explain(error, BuiltTask))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
    raise AskError(f"{path} holds no requests of lm-evaluation-harness ({why}). Make it anew: "
                   f"`opswright suites lm-eval {path.name.partition('.')[0]}`.")  # fmt: skip


def _sample(item: Mapping[str, Any], tags: Collection[str]) -> Sample:
    """An item; what a model is asked about it is in its metadata."""
    fields = item["fields"]
    return Sample.of(
        item["id"],
        item["question"],
        *item["targets"],
        choices=tuple(item["choices"]),
        tags={tag: fields[tag] for tag in tags if tag in fields},
        metadata={METADATA: {"asked": item["asked"], "document": item["document"]}},
    )


def task_of(built: BuiltTask) -> Task:
    """Our task, which decides the baselines."""
    return "choose" if built.kind == "multiple_choice" else "generate"
