"""How likely a model finds texts behind prompts: two ways, the quicker one for models that take padding."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ..data.batches import by_length, fitting
from .prompt_rows import PromptReader, PromptRows

_ROWS = 64  # rows of one pass
_TOKENS = 1 << 16  # tokens that one pass holds, at most
_LOGITS = 1 << 27  # numbers that one pass gives, at most
_WASTE = 0.1  # padding to tokens, at most
_PACK = 64  # tokens of texts that stand behind one prompt, unless one text has more


class TokenScore(NamedTuple):
    """Natural log of a text's probability, and whether each of its tokens is the likeliest."""

    logprob: float
    is_greedy: bool


class Scored(NamedTuple):
    """One prompt's texts, in their order. number: the prompt's; waited_ms: its pass's share for each text."""

    number: int
    scores: list[TokenScore]
    waited_ms: float


class TokenScorer(Protocol):
    """Scores texts of at least one token behind prompts of at least one."""

    def score(self, prompts: Sequence[list[int]], texts: Sequence[Sequence[list[int]]]) -> Iterator[Scored]:
        """The scores of each prompt's texts, in any order of the prompts."""


class SharedPromptScorer:
    """Reads a prompt once, and its texts in one row behind it, none of which sees the others."""

    def __init__(self, reader: PromptReader, words: int) -> None:
        self._reader = reader
        self._places = max(1, min(_TOKENS, _LOGITS // words))  # of which one pass gives logits

    def score(self, prompts: Sequence[list[int]], texts: Sequence[Sequence[list[int]]]) -> Iterator[Scored]:
        """See TokenScorer."""
        import torch

        self._reader.share(prompts)
        for numbers in _like_length([len(prompt) for prompt in prompts], _TOKENS):
            started = time.perf_counter()
            with torch.inference_mode():
                found = self._run([prompts[n] for n in numbers], [texts[n] for n in numbers])
            waited_ms = (time.perf_counter() - started) * 1000 / max(1, sum(map(len, found)))
            for number, scores in zip(numbers, found, strict=True):
                yield Scored(number, scores, waited_ms)

    def _run(
        self, prompts: Sequence[list[int]], texts: Sequence[Sequence[list[int]]]
    ) -> list[list[TokenScore]]:
        """The scores of the texts of prompts that are read together."""
        flat = [(row, text) for row, some in enumerate(texts) for text in some]
        if not flat:
            return [[] for _ in texts]
        rows, logits = self._reader.read(prompts)
        total = _Sums(len(flat), logits)
        total.add(logits[[row for row, _ in flat]], [text[0] for _, text in flat], range(len(flat)))
        packs = list(_packs(flat))
        for part in _like_length([sum(len(flat[i][1]) - 1 for i in pack) for pack in packs], self._places):
            self._branch(rows, [packs[number] for number in part], flat, total)
        scores = iter(total.scores())
        return [[next(scores) for _ in some] for some in texts]

    def _branch(
        self,
        rows: PromptRows,
        packs: Sequence[Sequence[int]],
        flat: Sequence[tuple[int, list[int]]],
        total: _Sums,
    ) -> None:
        """Add what follows the first token of each text in some packs."""
        copied = rows.copy([flat[pack[0]][0] for pack in packs])
        logits = self._reader.branch(copied, [[flat[i][1][:-1] for i in pack] for pack in packs])
        targets = [[(i, token) for i in pack for token in flat[i][1][1:]] for pack in packs]
        where = [row for row, some in enumerate(targets) for _ in some]
        places = [place for some in targets for place in range(len(some))]
        wanted = [pair for some in targets for pair in some]
        total.add(logits[where, places], [token for _, token in wanted], [i for i, _ in wanted])


class WholeTextScorer:
    """Reads prompt and text anew for each text, those of one length together; for any model."""

    def __init__(self, model: Any, device: str, words: int) -> None:
        self._model, self._device = model, device
        self._places = max(1, min(_TOKENS, _LOGITS // words))

    def score(self, prompts: Sequence[list[int]], texts: Sequence[Sequence[list[int]]]) -> Iterator[Scored]:
        """See TokenScorer."""
        import torch

        for number, (prompt, some) in enumerate(zip(prompts, texts, strict=True)):
            started = time.perf_counter()
            scores: list[TokenScore] = [TokenScore(0.0, True)] * len(some)
            size = max(1, min(_ROWS, self._places // (len(prompt) + max(map(len, some), default=0))))
            for part in by_length(some, size):
                with torch.inference_mode():
                    found = self._run(prompt, [some[place] for place in part])
                for place, one in zip(part, found, strict=True):
                    scores[place] = one
            yield Scored(number, scores, (time.perf_counter() - started) * 1000 / max(1, len(some)))

    def _run(self, prompt: list[int], texts: Sequence[list[int]]) -> list[TokenScore]:
        """The scores of texts of one length."""
        import torch

        length = len(texts[0])
        inputs = torch.tensor([prompt + text[:-1] for text in texts], device=self._device)
        logits = self._model(inputs, use_cache=False, logits_to_keep=length).logits
        total = _Sums(len(texts), logits)
        owners = [i for i in range(len(texts)) for _ in range(length)]
        total.add(logits.flatten(0, 1), [token for text in texts for token in text], owners)
        return total.scores()


class _Sums:
    """Log-probabilities of texts, summed token by token."""

    def __init__(self, texts: int, like: Any) -> None:
        import torch

        self._logprobs = torch.zeros(texts, dtype=torch.float64, device=like.device)
        self._others = torch.zeros(texts, dtype=torch.int64, device=like.device)  # tokens that are not greedy

    def add(self, logits: Any, tokens: Sequence[int], owners: Iterable[int]) -> None:
        """Count tokens, each by its row of logits (tokens, words), for the texts that own them."""
        import torch

        device = logits.device
        owner = torch.tensor(list(owners), device=device)
        picked = logits.gather(1, torch.tensor(tokens, device=device).unsqueeze(1)).float()
        best = logits.amax(1, keepdim=True).float()
        norms = (logits.float() - best).exp_().sum(1).log_() + best.squeeze(1)
        self._logprobs.index_add_(0, owner, (picked.squeeze(1) - norms).double())
        self._others.index_add_(0, owner, (picked < best).squeeze(1).long())

    def scores(self) -> list[TokenScore]:
        """What was summed."""
        pairs = zip(self._logprobs.tolist(), self._others.tolist(), strict=True)
        return [TokenScore(logprob, others == 0) for logprob, others in pairs]


def _packs(flat: Sequence[tuple[int, list[int]]]) -> Iterator[list[int]]:
    """Texts of more than one token, of one row each time, with few tokens together."""
    pack: list[int] = []
    size = 0
    for number, (row, text) in enumerate(flat):
        if len(text) == 1:
            continue
        if pack and (flat[pack[0]][0] != row or size + len(text) - 1 > _PACK):
            yield pack
            pack, size = [], 0
        pack.append(number)
        size += len(text) - 1
    if pack:
        yield pack


def _like_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Numbers of lengths in batches, the longest first, with little padding and few tokens."""
    waiting = sorted(range(len(lengths)), key=lambda number: lengths[number], reverse=True)
    while waiting:
        most = max(1, min(_ROWS, tokens // max(1, lengths[waiting[0]])))
        count = fitting((lengths[number] for number in waiting[:most]), _WASTE)
        yield waiting[:count]
        waiting = waiting[count:]
