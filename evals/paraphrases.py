"""A suite's questions in other words: as the suite brings them, else as a model writes them, each checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..data.alterations import last_asked, own_paraphrase, reworded, reworded_fault
from ..data.sample import Sample, Task
from .judges.client import JudgeClient, JudgeConnection, Judgement, Unreadable
from .judges.prompt import load_prompt
from .judges.settings import ParaphraserSettings
from .scorers.base import ServerAccess

NONE_GIVEN = "none given"
_PROMPT = "paraphrase-1"
_ENOUGH = 0.5  # share of the items that must have a usable one


@dataclass(frozen=True)
class Paraphrases:
    """The items that have a usable paraphrase, as it puts them. asked: items that could have one.

    own: how many the suite brought. refused: by reason, those that cannot be used.
    """

    items: tuple[Sample, ...]
    asked: int
    own: int
    refused: Mapping[str, int]
    writer: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What a report says of them."""
        refused = dict(sorted(self.refused.items()))
        return {
            "asked": self.asked,
            "usable": len(self.items),
            "own": self.own,
            "refused": refused,
            **self.writer,
        }


def paraphrases_of(
    items: Sequence[Sample], task: Task, settings: ParaphraserSettings | None, access: ServerAccess
) -> Paraphrases:
    """The items in other words; what cannot be used is refused and counted, never mended.

    settings: who writes those that the items do not bring themselves; None: nobody.
    """
    asked = [item for item in items if last_asked(item) is not None]
    texts: dict[str, str | None] = {item.id: own_paraphrase(item) for item in asked}
    own = sum(text is not None for text in texts.values())
    missing = [item for item in asked if texts[item.id] is None]
    refused: Counter[str] = Counter()
    writer: dict[str, Any] = {}
    if settings is None:
        refused.update({NONE_GIVEN: len(missing)} if missing else {})
    elif missing:
        said, writer = _written(missing, settings, access)
        texts |= {item.id: one.verdict for item, one in zip(missing, said, strict=True)}
        refused.update(one.failure.partition(":")[0] for one in said if one.verdict is None)
    usable = []
    for item in asked:
        if (text := texts[item.id]) is None:
            continue
        if (fault := reworded_fault(item, text, task)) is None:
            usable.append(reworded(item, text))
        else:
            refused[fault] += 1
    return Paraphrases(tuple(usable), len(asked), own, refused, writer)


def too_few_usable(facts: Mapping[str, Any], items: int) -> str:
    """In words, that too few items have a usable paraphrase to speak for all; empty where enough have.

    facts: as `Paraphrases.facts` has them; empty: none were asked for, or a report from before.
    """
    if not facts or facts["usable"] >= _ENOUGH * items:
        return ""
    reasons = "; ".join(f"{reason}: {count:,}" for reason, count in facts["refused"].items())
    return (
        f"only {facts['usable']:,} of {items:,} items have a usable paraphrase, at least {_ENOUGH:.0%} are "
        f"needed ({reasons or 'the others ask nothing in words'})"
    )


def _written(
    items: Sequence[Sample], settings: ParaphraserSettings, access: ServerAccess
) -> tuple[list[Judgement[str]], dict[str, Any]]:
    """What a model makes of each item's question, and who it is."""
    prompt = load_prompt(_PROMPT, None, {})
    chats = [prompt.chat({"message": last_asked(item) or ""}) for item in items]
    with closing(JudgeConnection(settings, access)) as connection:
        said = JudgeClient(connection, _read, prompt.digest).ask(chats, access.progress)
    return said, {
        "model": settings.model,
        "url": settings.url,
        "prompt": prompt.name,
        "prompt_digest": prompt.digest,
        "tokens": sum(one.tokens for one in said),
    }


def _read(reply: Mapping[str, Any]) -> str:
    if set(reply) != {"paraphrase"} or not isinstance(reply["paraphrase"], str):
        found = ", ".join(sorted(reply))[:80]
        raise Unreadable(f"other fields: expected a text `paraphrase`, found {found or 'none'}")
    return str(reply["paraphrase"])
