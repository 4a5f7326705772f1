"""A message that corrects itself: "look inside model.nemo ... no, import it"."""

from __future__ import annotations

import re

from ....core.contract import Effect
from ..base import PlannerReply, Proposal
from .drafts import PlanDraft

_MARK = re.compile(
    r"(?:\s*(?:[,.;:(\u2013\u2014\u2026]|\.{2,}|\s-+)\s*|\s+)"
    r"(?P<mark>(?:(?:oh|ah|um|uh|er|hm+|oops|ugh|wait|hang on|hold on)[\s,.]+)*"
    r"(?:(?:no|nope|wait)(?=\s*[,.:\u2026]|\s+(?:no|wait|sorry|actually|rather|i meant?|make|scratch)\b)"
    r"|sorry|oops|actually|scratch that|correction|i meant?|make (?:that|it)|or rather|rather)"
    r"(?:[\s,.:]+(?:no|wait|sorry|actually|rather|better|i meant?|scratch that|make (?:that|it))\b)*)"
    r"(?=[\s,.:\u2026]+\w)",
    re.IGNORECASE,
)
_SURE = re.compile(r"[,.;:(\u2013\u2014\u2026-]")
_TOLD = re.compile(r",\s+(?=(?:i|we|he|she|they|it|that)\b)", re.IGNORECASE)
_LONGEST = 14  # words of a correction
_FEW = 6  # words of one where something is served


def halves_of(text: str) -> tuple[str, str] | None:
    """What is said before a message corrects itself, and the correction; None where it does not."""
    found = [match for match in _MARK.finditer(text) if match.start() > 0]
    if len(found) != 1 or not _SURE.search(
        found[0].group()[: found[0].start("mark") - found[0].start() or None]
    ):
        return None
    before, behind = text[: found[0].start()].strip(), text[found[0].end() :].strip(" ,.:()\u2026")
    if len(before.split()) < 2 or len(behind.split()) > _LONGEST:
        return None
    return before, f"actually {behind}"


def without_telling(behind: str) -> str:
    """A correction without what is told behind it: "..., I know what is in there"."""
    return _TOLD.split(behind, maxsplit=1)[0]


def is_corrected(first: PlanDraft, reply: PlannerReply, behind: str, *, is_all: bool) -> bool:
    """Whether a reply to the correction is what was said before with something changed of it.

    Where something is served the skills stay the same, the correction is short, and it `is_all` that is said.
    """
    if not isinstance(reply, Proposal):
        return False
    serves = reply.plan.effect is Effect.SERVES or any(
        one.skill.effect is Effect.SERVES for one in first.steps
    )
    steps_now = (reply.draft or {}).get("steps", ())
    if [dict(step["with"]) for step in steps_now] == [one.arguments for one in first.steps]:
        return False  # nothing of it was understood
    before = [step.skill.name for step in first.steps]
    now = [str(step["skill"]) for step in steps_now]
    if serves:
        return is_all and before == now and len(behind.split()) <= _FEW
    return bool(set(before) & set(now)) or len(now) == 1
