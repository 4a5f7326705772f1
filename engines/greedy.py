"""Greedy texts of many prompts: a row that ended leaves the batch, and a waiting prompt takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..data.batches import fitting
from .prompt_rows import PromptReader, PromptRows

_TOKENS = 1 << 16  # that the rows of one batch hold, at most
_WASTE = 0.1  # padding to tokens, at most, in a pass that reads prompts
_JOIN = 0.5  # free rows, of all, before waiting prompts are read

# what a generation config may say that leaves greedy texts as they are
_HARMLESS = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"),
        *("max_length", "max_new_tokens", "use_cache", "transformers_version", "_from_model_config"),
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        *("return_dict_in_generate", "epsilon_cutoff", "eta_cutoff"),
    )
)


class Decoded(NamedTuple):
    """What was made of one prompt: its new tokens with the end token, or what went wrong."""

    number: int
    tokens: list[int]
    waited_ms: float
    error: str | None = None


@dataclass
class _Row:
    """A prompt in the batch. most: new tokens it may have."""

    number: int
    most: int
    started: float
    tokens: list[int] = field(default_factory=list)

    def decoded(self, error: str | None = None) -> Decoded:
        """As what is told of it."""
        return Decoded(self.number, self.tokens, (time.perf_counter() - self.started) * 1000, error)


class GreedyDecoder:
    """Decodes with a model that takes padding. most_rows: prompts in one pass at most.

    has_ended: told a row's new tokens, whether it ends there.
    """

    def __init__(self, reader: PromptReader, has_ended: Callable[[list[int]], bool], most_rows: int) -> None:
        self._reader, self._has_ended, self._most_rows = reader, has_ended, most_rows

    def decode(self, prompts: Sequence[list[int]], most: Sequence[int]) -> Iterator[Decoded]:
        """What is made of each prompt, in the order in which they end; the longest begin.

        most: new tokens of each. A failure is that of the prompts in the batch; the others go on.
        """
        waiting = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        self._reader.share(prompts)
        batch = _Batch(self._reader)
        while waiting or batch.rows:
            try:
                if count := self._joining(batch, waiting, prompts, most):
                    numbers = [waiting.pop() for _ in range(count)]
                    batch.add([_Row(n, most[n], time.perf_counter()) for n in numbers], prompts)
                else:
                    batch.step()
                yield from batch.take_ended(self._has_ended)
            except Exception as error:  # torch's own errors have no common type
                yield from (row.decoded(f"{type(error).__name__}: {error}") for row in batch.rows)
                batch = _Batch(self._reader)

    def _joining(
        self, batch: _Batch, waiting: Sequence[int], prompts: Sequence[list[int]], most: Sequence[int]
    ) -> int:
        """How many of the waiting prompts, the last ones, come into the batch now."""
        if not waiting:
            return 0
        longest = len(prompts[waiting[-1]])
        limit = max(1, min(self._most_rows, _TOKENS // (max(batch.width, longest) + max(most))))
        room = min(limit - len(batch.rows), len(waiting))
        if room < min(len(waiting), limit * _JOIN):
            return 0  # a pass for few rows costs nearly as much as one for many
        return fitting((len(prompts[number]) for number in reversed(waiting[-room:])), _WASTE)


class _Batch:
    """The rows that are being decoded, what the model keeps of them, and the last token of each."""

    def __init__(self, reader: PromptReader) -> None:
        self.rows: list[_Row] = []
        self._reader = reader
        self._kept: PromptRows | None = None
        self._last: Any = None

    @property
    def width(self) -> int:
        """Places of a row, padding too."""
        return 0 if self._kept is None else self._kept.width

    def add(self, rows: Sequence[_Row], prompts: Sequence[list[int]]) -> None:
        """Read prompts, and put them below the rows that are here."""
        import torch

        self.rows += rows  # first: should the pass fail, it is theirs too
        with torch.inference_mode():
            kept, logits = self._reader.read([prompts[row.number] for row in rows])
            tokens = self._chosen(logits, rows)
            if self._kept is None:
                self._kept, self._last = kept, tokens
            else:
                self._kept.join(kept)
                self._last = torch.cat([self._last, tokens])

    def step(self) -> None:
        """One more token for every row."""
        import torch

        if self._kept is None:
            return
        with torch.inference_mode():
            self._last = self._chosen(self._reader.step(self._kept, self._last), self.rows)

    def take_ended(self, has_ended: Callable[[list[int]], bool]) -> list[Decoded]:
        """The rows that ended; they leave."""
        import torch

        is_over = [len(row.tokens) >= row.most or has_ended(row.tokens) for row in self.rows]
        if not any(is_over):
            return []
        ended = [row.decoded() for row, over in zip(self.rows, is_over, strict=True) if over]
        going = [at for at, over in enumerate(is_over) if not over]
        self.rows = [self.rows[at] for at in going]
        if not going:
            self._kept = None
        elif self._kept is not None:
            with torch.inference_mode():
                self._kept.keep(going)
                self._last = self._last[going]
        return ended

    def _chosen(self, logits: Any, rows: Sequence[_Row]) -> Any:
        """The likeliest token of each row, which it takes."""
        chosen = logits.argmax(-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.tokens.append(token)
        return chosen


def is_plainly_greedy(model: Any) -> bool:
    """Whether only how likely a token is decides a model's greedy texts, and no penalty or the like."""
    from transformers import GenerationMixin

    if not _HARMLESS.issuperset(model.generation_config.to_diff_dict()):
        return False
    return type(model).generate is GenerationMixin.generate
