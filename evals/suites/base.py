"""What a suite is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...core.errors import AskError, did_you_mean
from ...core.files import sha256_json
from ...data.sample import Sample, Task
from ..embedder_settings import EmbedderSettings
from ..judges.prompt import shipped_prompts_digest
from ..judges.settings import JudgeSettings
from ..lm_eval.environment import interpreter
from ..lm_eval.scoring import check_metrics, lm_eval_scorers
from ..lm_eval.task import LmEvalTask
from ..prompts import Prompt, tag_values
from ..scorers import (
    Scorer,
    ScorerSpec,
    ScoringContext,
    ServerAccess,
    check_trusted,
    default_specs,
    load_scorer,
    right_answers,
)
from ..turns import Turns

SliceValues = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""A slice as it is written: values by tag, all of which must fit; or values of the suite's first tag."""

SliceRule = Mapping[str, frozenset[str]]
"""Which items a slice has: those whose tags have one of the values, for every tag named."""

ChooseBy = Literal["generation", "none", "characters", "bytes", "tokens"]
"""How a choice is made: by what is generated, or by likelihood per unit of length (`none`: the whole)."""

_SHORT_ANSWER, _LONG_ANSWER = 24, 256


@dataclass(frozen=True)
class Suite:
    """Named items with their right answers as their source spells them, how they are asked, and what counts.

    groups: named slices. slice_tags: every value of these tags is a slice of its own. scorers: the first is
    what the suite is judged by; none: those of the task. min_items: fewer are worth no judgement. choose_by:
    for the task `choose` alone. max_new_tokens: longest answer; None: by the task. judge: whom its judged
    scorers ask. turns: with `own`, an item's earlier turns of the assistant are the model's
    own answers. stop: texts before which an answer ends. lm_eval: the task of lm-evaluation-harness that it
    is. embedder: whom `embedding_similarity` asks.
    """

    name: str
    items: tuple[Sample, ...]
    groups: Mapping[str, SliceValues] = field(default_factory=dict)
    task: Task = "classify"
    slice_tags: tuple[str, ...] = ()
    prompt: Prompt = field(default_factory=Prompt)
    scorers: tuple[ScorerSpec, ...] = ()
    min_items: int = 1
    choose_by: ChooseBy = "characters"
    max_new_tokens: int | None = None
    summary: str = ""
    licence: str = ""
    source: str = ""
    file: Path | None = None
    judge: JudgeSettings | None = None
    turns: Turns = "last"
    stop: tuple[str, ...] = ()
    lm_eval: LmEvalTask | None = None
    embedder: EmbedderSettings | None = None

    @cached_property
    def digest(self) -> str:
        """64 hex digits over all that decides a score: reports with the same may be compared item by item."""
        items = [item.document() for item in self.items]
        document: dict[str, Any] = {"suite": self.name, "task": self.task, "items": items}
        if self.prompt != Prompt():
            document["prompt"] = self.prompt.document()
        if self.scorers:
            document["scorers"] = [spec.document() for spec in self.scorers]
        if self.task == "choose":
            document["choose_by"] = self.choose_by
        if self.turns != "last":
            document["turns"] = self.turns
        if self.stop:
            document["stop"] = list(self.stop)
        if self.lm_eval is not None:
            document["lm_eval"] = self.lm_eval.document()
        if self.judge is not None and self.asks_judge:
            document["judge"] = {**self.judge.document(), "prompts": shipped_prompts_digest()}
        if self.embedder is not None:
            document["embedder"] = self.embedder.document()
        return sha256_json(document)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every right answer once, as the source spells it, sorted."""
        return tuple(sorted({answer for item in self.items for answer in right_answers(item)}))

    @cached_property
    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """Each tag of the items with its values, in the source's order."""
        return tag_values(self.items)

    def items_by_id(self, ids: Iterable[str]) -> list[Sample]:
        """The items of some ids, in their order; KeyError for an id that no item has."""
        known = {item.id: item for item in self.items}
        return [known[one] for one in ids]

    @property
    def specs(self) -> tuple[ScorerSpec, ...]:
        """The scorers by which it is measured, the first before all."""
        return self.scorers or tuple(default_specs(self.task))

    @property
    def asks_judge(self) -> bool:
        """Whether one of its scorers sends answers to a judge."""
        return any(spec.asks_judge for spec in self.specs)

    @property
    def asks_server(self) -> bool:
        """Whether one of its scorers sends answers to a judge or an embedder."""
        return self.asks_judge or self.embedder is not None

    @property
    def longest_answer(self) -> int:
        """Tokens an answer may have."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return _SHORT_ANSWER if self.task in ("classify", "choose") else _LONG_ANSWER

    @property
    def by_likelihood(self) -> bool:
        """Whether an engine chooses by likelihood instead of generating."""
        if self.lm_eval is not None:
            return self.lm_eval.built.kind != "generate_until"
        return self.task == "choose" and self.choose_by != "generation"

    @property
    def is_plain(self) -> bool:
        """Whether its prompts are plain text, which no chat template is put around."""
        return self.lm_eval is not None and not self.lm_eval.built.chat

    def load_scorers(
        self, trust: Path | None = None, access: ServerAccess | None = None
    ) -> tuple[Scorer, ...]:
        """Its scorers, made; see `load_scorer` for `trust` and errors. access: for what asks a server."""
        if self.lm_eval is not None:
            return lm_eval_scorers(self.lm_eval, [spec.metric for spec in self.specs], trust)
        context = self._context(access or ServerAccess())
        return tuple(load_scorer(spec, context, trust) for spec in self.specs)

    def _context(self, access: ServerAccess) -> ScoringContext:
        answers = self.labels if self.task == "classify" else ()
        return ScoringContext(self.task, answers, self.items, self.judge, access, self.embedder)

    def check_scorers(self, trust: Path | None = None) -> tuple[Path, ...]:
        """What `load_scorers` would refuse, without running any file; the files that it would run."""
        if self.lm_eval is not None:
            self.lm_eval.check_trusted(trust)
            check_metrics(self.lm_eval, [spec.metric for spec in self.specs])
            interpreter()
            return () if self.lm_eval.folder is None else (self.lm_eval.folder,)
        context = self._context(ServerAccess())
        files = []
        for spec in self.specs:
            if spec.file is None:
                load_scorer(spec, context)
            else:
                check_trusted(spec.name, spec.file, trust)
                files.append(spec.file)
        return tuple(dict.fromkeys(files))

    def slices(self, extra: Mapping[str, SliceValues] | None = None) -> dict[str, SliceRule]:
        """Slice name -> its rule: values of the sliced tags, the suite's groups, then `extra` (which wins).

        With several sliced tags a value's slice is called `tag=value`. AskError for a tag or value that no
        item has, and for a slice without any.
        """
        several = len(self.slice_tags) > 1
        found: dict[str, SliceRule] = {
            f"{tag}={value}" if several else value: {tag: frozenset((value,))}
            for tag in self.slice_tags
            for value in self.tags.get(tag, ())
        }
        for name, values in {**self.groups, **(extra or {})}.items():
            found[name] = self._rule(name, values)
        return found

    def check_values(self, tag: str, values: tuple[str, ...], asked_by: str) -> None:
        """AskError naming the first value that no item has in a tag, or the tag when no item has it."""
        if tag not in self.tags:
            known = ", ".join(self.tags) or "none"
            raise AskError(
                f"{asked_by}: no item of suite {self.name} has the tag '{tag}' (they have: {known})."
                + did_you_mean(tag, self.tags)
            )
        for value in values:
            if value not in self.tags[tag]:
                raise AskError(
                    f"{asked_by}: {tag} '{value}' is not in suite {self.name} (it has: "
                    f"{', '.join(self.tags[tag][:30])}).{did_you_mean(value, self.tags[tag])}"
                )

    def _rule(self, name: str, values: SliceValues) -> SliceRule:
        if not isinstance(values, Mapping):
            if not self.slice_tags:
                raise AskError(
                    f"slice '{name}': suite {self.name} slices by no tag, so name one: {{TAG: [VALUE, ...]}}."
                )
            values = {self.slice_tags[0]: values}
        if not values or not all(values.values()):
            raise AskError(f"slice '{name}' is empty: name at least one value.")
        for tag, some in values.items():
            self.check_values(tag, tuple(some), f"slice '{name}'")
        return {tag: frozenset(some) for tag, some in values.items()}


def in_slice(sample: Sample, rule: SliceRule) -> bool:
    """Whether a slice has a sample."""
    return all(sample.tags.get(tag) in values for tag, values in rule.items())
