"""How likely texts are after prompts, by transformers: a prompt is read once for all its continuations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.batches import by_length
from .base import Chat, Continuation, Progress, too_long

_PROMPTS = 64  # prompts of one pass
_ROWS = 256  # rows of one pass over continuations
_TOKENS = 1 << 16  # tokens that the caches of one pass hold, at most


@dataclass(frozen=True)
class _Asked:
    """One continuation: its chat's number, its own there, and its tokens (at least one)."""

    chat: int
    place: int
    tokens: list[int]


class LikelihoodScorer:
    """Scores continuations with a model and its tokenizer. context: tokens the model takes at most."""

    def __init__(self, model: Any, tokenizer: Any, context: int, device: str) -> None:
        self.model, self.tokenizer, self.context, self.device = model, tokenizer, context, device

    def score(
        self,
        chats: Sequence[Chat],
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        prefix: str | None,
        progress: Progress | None,
    ) -> list[list[Continuation]]:
        """One result for each continuation of each chat. prompts: the chats as the template renders them."""
        results = [[Continuation.failed("not scored")] * len(some) for some in continuations]
        contexts: list[list[int]] = self._tokens(prompts)
        asked: list[list[_Asked]] = []
        for number, (chat, prompt, some) in enumerate(zip(chats, prompts, continuations, strict=True)):
            mine = []
            for place, tokens in enumerate(self._split(chat, prompt, contexts[number], some, prefix)):
                if isinstance(tokens, str):
                    results[number][place] = Continuation.failed(tokens)
                else:
                    mine.append(_Asked(number, place, tokens))
            asked.append(mine)
        waiting = [number for number, mine in enumerate(asked) if mine]
        done = len(chats) - len(waiting)
        longest = max((len(contexts[number]) for number in waiting), default=1)
        size = max(1, min(_PROMPTS, _TOKENS // longest))
        for batch in by_length([contexts[number] for number in waiting], size):
            numbers = [waiting[place] for place in batch]
            started = time.perf_counter()
            found = self._run([contexts[n] for n in numbers], [asked[n] for n in numbers])
            waited_ms = (time.perf_counter() - started) * 1000 / max(1, sum(len(asked[n]) for n in numbers))
            for one, (logprob, is_greedy) in found:
                results[one.chat][one.place] = Continuation(logprob, len(one.tokens), is_greedy, waited_ms)
            done += len(numbers)
            if progress is not None:
                progress(done, len(chats))
        return results

    def _split(
        self, chat: Chat, prompt: str, context: list[int], continuations: Sequence[str], prefix: str | None
    ) -> Iterator[list[int] | str]:
        """The tokens of each continuation behind the prompt's, or why it has none.

        Prompt and continuation are read as one text, as in training; where a token spans both, the cut would
        lose a part of the text, so it is refused.
        """
        if not continuations:
            return
        if not context:
            yield from ("the prompt is empty" for _ in continuations)
            return
        try:
            lead = self._lead(chat, prompt, continuations[0]) if prefix is None else prefix
        except _NoPrefix as error:
            yield from (str(error) for _ in continuations)
            return
        wholes = self._tokens([prompt + lead + one for one in continuations])
        for one, whole in zip(continuations, wholes, strict=True):
            if whole[: len(context)] != context:
                yield (
                    f"a token spans the end of the prompt and the beginning of {lead + one[:20]!r}: give the "
                    "suite an `answer_prefix` that begins where a token does"
                )
            elif len(whole) == len(context):
                yield "the continuation is empty"
            elif len(whole) > self.context:
                yield too_long(len(whole), self.context + 1)
            else:
                yield whole[len(context) :]

    def _lead(self, chat: Chat, prompt: str, continuation: str) -> str:
        """What the chat template puts between the prompt and what the assistant says."""
        answered = [*(dict(message) for message in chat), {"role": "assistant", "content": continuation}]
        try:
            whole = str(self.tokenizer.apply_chat_template(answered, tokenize=False))
        except Exception as error:  # a template raises what it likes
            raise _NoPrefix(f"the chat template does not take an answer: {error}") from error
        at = whole.find(continuation, len(prompt))
        if not whole.startswith(prompt) or at < 0 or not continuation:
            raise _NoPrefix(
                "the chat template does not show where an answer begins: give the suite an `answer_prefix`"
            )
        return whole[len(prompt) : at]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found

    def _run(
        self, contexts: list[list[int]], asked: list[list[_Asked]]
    ) -> Iterator[tuple[_Asked, tuple[float, bool]]]:
        """(logprob, is greedy) of each continuation, for prompts of one length; a failure is each one's."""
        import torch

        with torch.inference_mode():
            tokens = torch.tensor(contexts, device=self.device)  # (prompts, tokens)
            out = self.model(tokens, use_cache=True, logits_to_keep=1)
            rows = [(row, one) for row, mine in enumerate(asked) for one in mine]
            firsts = [one.tokens[0] for _, one in rows]
            logprobs, greedy = _picked(out.logits[:, -1], [row for row, _ in rows], firsts)
            sums = dict(zip(range(len(rows)), logprobs, strict=True))
            good = dict(zip(range(len(rows)), greedy, strict=True))
            select = cache_selector(out.past_key_values)
            for part in self._parts([one for _, one in rows], len(contexts[0])):
                where = [rows[number][0] for number in part]
                tails = [rows[number][1].tokens for number in part]
                found = self._tails(where, tails, contexts, select)
                for number, (logprob, is_greedy) in zip(part, found, strict=True):
                    sums[number] += logprob
                    good[number] = good[number] and is_greedy
            return iter([(one, (sums[i], good[i])) for i, (_, one) in enumerate(rows)])

    def _parts(self, asked: list[_Asked], length: int) -> Iterator[list[int]]:
        """Continuations of more than one token by length, in parts whose caches fit."""
        longer = sorted(
            (i for i, one in enumerate(asked) if len(one.tokens) > 1), key=lambda i: len(asked[i].tokens)
        )
        start = 0
        while start < len(longer):
            size = max(1, min(_ROWS, _TOKENS // (length + len(asked[longer[start]].tokens))))
            yield longer[start : start + size]
            start += size

    def _tails(
        self,
        where: list[int],
        tails: list[list[int]],
        contexts: list[list[int]],
        select: Callable[[list[int], str], Any] | None,
    ) -> list[tuple[float, bool]]:
        """(logprob, is greedy) of what follows the first token of each continuation.

        The prompts' caches are copied for the rows, padded on the right, where padding changes nothing. A
        model whose cache cannot be copied reads the prompts again.
        """
        import torch

        longest = max(map(len, tails)) - 1
        padded = [tail[:-1] + [tail[-1]] * (longest + 1 - len(tail)) for tail in tails]
        wanted = torch.tensor(
            [tail[1:] + [tail[-1]] * (longest + 1 - len(tail)) for tail in tails], device=self.device
        )
        if select is not None:
            inputs = torch.tensor(padded, device=self.device)
            logits = self.model(inputs, past_key_values=select(where, self.device), use_cache=True).logits
        else:
            whole = [contexts[row] + tail for row, tail in zip(where, padded, strict=True)]
            inputs = torch.tensor(whole, device=self.device)
            logits = self.model(inputs, use_cache=False, logits_to_keep=longest).logits
        logits = logits.float()  # (rows, longest, words)
        picked = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
        logprobs = picked - logits.logsumexp(-1)
        greedy = picked >= logits.amax(-1)
        real = torch.tensor(
            [[at < len(tail) - 1 for at in range(longest)] for tail in tails], device=self.device
        )
        sums = torch.where(real, logprobs, 0.0).sum(-1).tolist()
        return list(zip(sums, (greedy | ~real).all(-1).tolist(), strict=True))


class _NoPrefix(Exception):
    """A chat template does not tell where an answer begins."""


def _picked(logits: Any, rows: list[int], tokens: list[int]) -> tuple[list[float], list[bool]]:
    """Log-probability of one token in each of some rows of logits (rows, words), and if it is the best."""
    import torch

    logits = logits.float()
    row, token = torch.tensor(rows, device=logits.device), torch.tensor(tokens, device=logits.device)
    picked = logits[row, token]
    logprobs = picked - logits.logsumexp(-1)[row]
    return logprobs.tolist(), (picked >= logits.amax(-1)[row]).tolist()


def cache_selector(cache: Any) -> Callable[[list[int], str], Any] | None:
    """What copies rows of a cache of keys and values; None for a cache that is not plainly that."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers: Any = getattr(cache, "layers", ())
    if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in layers):
        return None

    def select(rows: list[int], device: str) -> Any:
        import torch

        index = torch.tensor(rows, device=device)
        copied = DynamicCache()
        for number, layer in enumerate(layers):
            copied.update(layer.keys.index_select(0, index), layer.values.index_select(0, index), number)
        return copied

    return select
