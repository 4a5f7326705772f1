"""How likely texts are after prompts: texts become tokens, a model's scores become results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .base import Chat, Continuation, Progress, too_long
from .token_scores import TokenScore, TokenScorer

Split = list[int] | str
"""A continuation's tokens behind the prompt's, or why it has none."""


class LikelihoodScorer:
    """Scores continuations with a model's tokenizer. context: tokens the model takes at most.

    start: the token that stands before plain text, where prompts are that: what is empty begins with it, and
    a text longer than the context is then read window by window, each behind the last token before it.
    """

    def __init__(self, scorer: TokenScorer, tokenizer: Any, context: int, start: int | None = None) -> None:
        self.scorer, self.tokenizer, self.context, self.start = scorer, tokenizer, context, start
        self.lead = [] if start is None else lead_tokens(tokenizer)

    def score(
        self,
        chats: Sequence[Chat],
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        prefix: str | None,
        progress: Progress | None,
    ) -> list[list[Continuation]]:
        """One result for each continuation of each chat. prompts: the chats as the template renders them."""
        contexts = [
            self._begun(prompt, one) for prompt, one in zip(prompts, self._tokens(prompts), strict=True)
        ]
        split = self._split(chats, prompts, contexts, continuations, prefix)
        results = [
            [Continuation.failed(one if isinstance(one, str) else "not scored") for one in some]
            for some in split
        ]
        jobs = [
            job for number, some in enumerate(split) for job in self._jobs(number, contexts[number], some)
        ]
        left = Counter(job.number for job in jobs)
        for found in self.scorer.score([job.context for job in jobs], [job.texts for job in jobs]):
            job = jobs[found.number]
            mine = results[job.number]
            for place, text, one in zip(job.places, job.texts, found.scores, strict=True):
                mine[place] = _with(mine[place], one, len(text), found.waited_ms)
            left[job.number] -= 1
            if progress is not None:
                progress(len(chats) - sum(count > 0 for count in left.values()), len(chats))
        return results

    def _jobs(self, number: int, context: list[int], split: Sequence[Split]) -> Iterator[_Job]:
        """What is read for a chat: its continuations behind its prompt, or the windows of a long text."""
        places = [place for place, one in enumerate(split) if not isinstance(one, str)]
        texts = [one for one in split if not isinstance(one, str)]
        if self.start is None or context != [self.start]:
            if texts:
                yield _Job(number, context, texts, places)
            return
        for place, text in zip(places, texts, strict=True):
            for before, window in _windows([self.start, *text], self.context):
                yield _Job(number, before, [window], [place])

    def _split(
        self,
        chats: Sequence[Chat],
        prompts: Sequence[str],
        contexts: Sequence[list[int]],
        continuations: Sequence[Sequence[str]],
        prefix: str | None,
    ) -> list[list[Split]]:
        """Each continuation's tokens behind its prompt's; all texts go to the tokenizer at once."""
        leads = [
            self._lead_or_fault(chat, prompt, context, some, prefix)
            for chat, prompt, context, some in zip(chats, prompts, contexts, continuations, strict=True)
        ]
        wholes = iter(
            self._tokens(
                [
                    prompt + lead + one
                    for prompt, (lead, _), some in zip(prompts, leads, continuations, strict=True)
                    for one in some
                ]
            )
        )
        split: list[list[Split]] = []
        for context, (lead, fault), some in zip(contexts, leads, continuations, strict=True):
            mine = [(one, next(wholes)) for one in some]
            split.append(
                [
                    fault or self._behind(context, lead + one, self._joined(context, whole))
                    for one, whole in mine
                ]
            )
        return split

    def _behind(self, context: list[int], text: str, whole: list[int]) -> Split:
        """A text's tokens behind its prompt's.

        Prompt and text are read as one, as in training; where a token spans both, the cut would lose a part
        of the text, so it is refused.
        """
        if whole[: len(context)] != context:
            return (
                f"a token spans the end of the prompt and the beginning of {text[:20]!r}: give the "
                "suite an `answer_prefix` that begins where a token does"
            )
        if len(whole) == len(context):
            return "the continuation is empty"
        if len(whole) > self.context and context != [self.start]:
            return too_long(len(whole), self.context + 1)
        return whole[len(context) :]

    def _lead_or_fault(
        self, chat: Chat, prompt: str, context: list[int], continuations: Sequence[str], prefix: str | None
    ) -> tuple[str, str | None]:
        """What stands between a prompt and its continuations, and why none of them can be scored."""
        if not context:
            return "", "the prompt is empty"
        if prefix is not None or not continuations:
            return prefix or "", None
        try:
            return self._lead(chat, prompt, continuations[0]), None
        except _NoPrefix as error:
            return "", str(error)

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

    def _begun(self, text: str, tokens: list[int]) -> list[int]:
        """A prompt's tokens as the model reads them: plain text begins as its tokenizer begins one."""
        if self.start is None:
            return tokens
        if not text:
            return [self.start]
        return tokens if tokens[: len(self.lead)] == self.lead else [*self.lead, *tokens]

    def _joined(self, context: list[int], whole: list[int]) -> list[int]:
        """Prompt and text as one, with what `_begun` put before the prompt."""
        if self.start is None:
            return whole
        begun = [self.start] if context == [self.start] else self.lead
        return whole if whole[: len(begun)] == begun else [*begun, *whole]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found


@dataclass(frozen=True)
class _Job:
    """Texts that are read behind one context. number: the chat's; places: theirs among its continuations."""

    number: int
    context: list[int]
    texts: list[list[int]]
    places: list[int]


def lead_tokens(tokenizer: Any) -> list[int]:
    """What a tokenizer puts before any text of its own accord, as a start token."""
    found: list[int] = tokenizer("")["input_ids"]
    return found


def _with(before: Continuation, found: TokenScore, tokens: int, waited_ms: float) -> Continuation:
    """A continuation with one more part of it."""
    if before.error is not None:  # it has none yet
        return Continuation(found.logprob, tokens, found.is_greedy, waited_ms)
    return Continuation(
        before.logprob + found.logprob,
        before.tokens + tokens,
        before.is_greedy and found.is_greedy,
        before.latency_ms + waited_ms,
    )


def _windows(tokens: Sequence[int], context: int) -> Iterator[tuple[list[int], list[int]]]:
    """Parts of a text, each behind as much of what is before it as the context still takes.

    tokens: the start token and the text. All parts but the last fill the context, behind one token.
    """
    done, last = 1, len(tokens) - 1
    while done <= last:
        end = min(done + context, last + 1)
        yield list(tokens[max(0, end - 1 - context) : done]), list(tokens[done:end])
        done = end


class _NoPrefix(Exception):
    """A chat template does not tell where an answer begins."""
