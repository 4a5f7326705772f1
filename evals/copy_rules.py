"""Baselines that copy: the passage nearest to a question, and a call of which only what was said is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..data.sample import Sample
from .scorers.structured import NotJson, read_json
from .scorers.words import overlap_f1, words


def nearest_passage(item: Sample) -> str:
    """The first passage of an item that shares the most words with its question; empty without passages."""
    asked = words(item.question)
    return max(item.contexts, key=lambda passage: overlap_f1(asked, words(passage)), default="")


def keep_said(answer: str, asked: str, now: str) -> str:
    """The JSON answer to one question, for another: texts copied from the one that are not in the other go.

    What is in neither, as a tool's name, stays. An answer that is not JSON is given back as it is.
    """
    try:
        value = read_json(answer)
    except NotJson:
        return answer
    before, after = asked.casefold(), now.casefold()

    def stays(part: Any) -> bool:
        if not isinstance(part, str):
            return True
        text = part.casefold()
        return text in after or text not in before

    return json.dumps(_only(value, stays), ensure_ascii=False)


def _only(value: Any, stays: Callable[[Any], bool]) -> Any:
    """A JSON value without the leaves that do not stay."""
    if isinstance(value, dict):
        return {name: _only(part, stays) for name, part in value.items() if stays(part)}
    if isinstance(value, list):
        return [_only(part, stays) for part in value if stays(part)]
    return value
