"""A judge that compares an answer with another one, asked in both orders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ...core.errors import AskError
from ...data.sample import Sample
from ..scorers.base import Score, ScoringContext, ServerAccess, right_answers
from .base import Judge, needed_judge
from .client import Judgement, Unreadable, kept_reason
from .prompt import JudgePrompt, load_prompt, parts_of
from .rubric import BesideSuite, check_keys
from .settings import JudgeSettings

_BETTER = "It is right, answers what was asked, leaves nothing important out, and adds nothing wrong."
_WHEN_FIRST = {"first": "win", "second": "loss", "tie": "tie"}  # of the answer, when it is shown first
_WHEN_SECOND = {"first": "loss", "second": "win", "tie": "tie"}
_SCORES = {"win": 1.0, "tie": 0.5, "loss": 0.0}


def pairwise_judge(
    context: ScoringContext,
    rubric: Annotated[str, Field(min_length=1)] = _BETTER,
    against: BesideSuite | None = None,
    prompt: BesideSuite | None = None,
) -> Judge:
    """1 where a judge prefers the answer to the right one, or to that of `against`; 0.5 for a tie; else 0."""
    others = None if against is None else _read_answers(against)
    made = load_prompt("pairwise-1", prompt, {"rubric": rubric.strip()})
    return _PairwiseJudge(needed_judge(context, "pairwise_judge"), made, context.access, others)


class _Preference(NamedTuple):
    better: str
    reason: str


class _PairwiseJudge(Judge):
    """The answer is shown first, then second; only what is said both times counts, all else is a tie."""

    def __init__(
        self,
        settings: JudgeSettings,
        prompt: JudgePrompt,
        access: ServerAccess,
        others: Mapping[str, str] | None,
    ) -> None:
        super().__init__(settings, prompt, sorted(_SCORES.values()), access)
        self._others = others

    def score_all(self, pairs: Sequence[tuple[Sample, str]]) -> list[Score]:
        scores: dict[int, Score] = {}
        compared, chats = [], []
        for number, (sample, answer) in enumerate(pairs):
            other = self._other(sample)
            if other is None:
                why = None if self._others is None else f"no other answer: none to '{sample.id}' in the file"
                scores[number] = Score(None, why)
                continue
            compared.append(number)
            about = parts_of(sample, ())
            for first, second in ((answer, other), (other, answer)):
                chats.append(self.prompt.chat({**about, "first": first, "second": second}))
        said = self.ask(chats, _read)
        for number, shown_first, shown_second in zip(compared, said[::2], said[1::2], strict=True):
            scores[number] = _score(shown_first, shown_second)
        return [scores[number] for number in range(len(pairs))]

    def _other(self, sample: Sample) -> str | None:
        if self._others is not None:
            return self._others.get(sample.id)
        return next(iter(right_answers(sample)), None)


def _score(shown_first: Judgement[_Preference], shown_second: Judgement[_Preference]) -> Score:
    """What two judgements of one pair come to, from the side of the answer."""
    tokens = shown_first.tokens + shown_second.tokens
    one, two = shown_first.verdict, shown_second.verdict
    if one is None or two is None:
        return Score(None, shown_first.failure or shown_second.failure, {"tokens": tokens})
    when_first, when_second = _WHEN_FIRST[one.better], _WHEN_SECOND[two.better]
    disagreed = when_first != when_second
    detail = {
        "when_first": when_first,
        "when_second": when_second,
        "disagreed": disagreed,
        "reason": one.reason,
        "tokens": tokens,
    }
    return Score(0.5 if disagreed else _SCORES[when_first], detail=detail)


def _read(reply: Mapping[str, Any]) -> _Preference:
    check_keys(reply, "better")
    if reply["better"] not in tuple(_WHEN_FIRST):
        raise Unreadable(f"no verdict: better is {str(reply['better'])[:40]!r}, not first, second or tie")
    return _Preference(reply["better"], kept_reason(reply["reason"]))


def _read_answers(path: Path) -> dict[str, str]:
    """Answers by sample id, of JSON lines with `id` and `answer`, or an eval report's items (`got`)."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AskError(f"cannot read the answers in {path}: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, answer = row["id"], row["answer"] if "answer" in row else row["got"]
        except (ValueError, LookupError, TypeError) as error:
            raise AskError(
                f"{path}, line {number}: expected a JSON object with `id` and `answer` ({error})."
            ) from error
        if not isinstance(name, str) or not isinstance(answer, str | None) or name in found:
            raise AskError(f"{path}, line {number}: an `id` is a text and stands once; `answer` is a text.")
        if answer is not None:
            found[name] = answer
    return found
