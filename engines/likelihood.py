"""How likely texts are after prompts: texts become tokens, a model's scores become results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Chat, Continuation, Progress, too_long
from .token_scores import TokenScorer

Split = list[int] | str
"""A continuation's tokens behind the prompt's, or why it has none."""


class LikelihoodScorer:
    """Scores continuations with a model's tokenizer. context: tokens the model takes at most."""

    def __init__(self, scorer: TokenScorer, tokenizer: Any, context: int) -> None:
        self.scorer, self.tokenizer, self.context = scorer, tokenizer, context

    def score(
        self,
        chats: Sequence[Chat],
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        prefix: str | None,
        progress: Progress | None,
    ) -> list[list[Continuation]]:
        """One result for each continuation of each chat. prompts: the chats as the template renders them."""
        contexts = self._tokens(prompts)
        split = self._split(chats, prompts, contexts, continuations, prefix)
        results = [
            [Continuation.failed(one if isinstance(one, str) else "not scored") for one in some]
            for some in split
        ]
        wanted = [[i for i, one in enumerate(some) if not isinstance(one, str)] for some in split]
        waiting = [number for number, places in enumerate(wanted) if places]
        texts = [[one for one in split[number] if not isinstance(one, str)] for number in waiting]
        done = len(chats) - len(waiting)
        for found in self.scorer.score([contexts[number] for number in waiting], texts):
            number = waiting[found.number]
            for place, text, one in zip(wanted[number], texts[found.number], found.scores, strict=True):
                results[number][place] = Continuation(one.logprob, len(text), one.is_greedy, found.waited_ms)
            done += 1
            if progress is not None:
                progress(done, len(chats))
        return results

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
            split.append([fault or self._behind(context, lead + one, whole) for one, whole in mine])
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
        if len(whole) > self.context:
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

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found


class _NoPrefix(Exception):
    """A chat template does not tell where an answer begins."""
