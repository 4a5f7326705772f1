"""Why nothing is proposed, in words."""

from __future__ import annotations

from ....core.text import one_line

LONGEST = 2_000  # characters of a message
MOST_WORDS = 400  # words, numbers and marks of a message; some of what is done grows with their square
_WHY = {
    "destructive": "nothing here deletes, wipes or stops things on a sentence",
    "approval": "no sentence gives consent or waives a gate: a person approves the plan's card or its id",
    "reported": "it tells what somebody or something says",
    "told": "it tells of what is or was done, and asks for nothing",
    "hypothetical": "it asks what could be or whether to, or takes back what it says",
    "scheduled": "plain language starts things now or not at all; a scheduler can run a plan file",
    "quoted": "it quotes, or holds markup",
    "negated": "it says not to",
    "command": "a command stands alone, as the whole message",
    "unseen": "it holds characters that show nothing or move text",
    "long": f"it is longer than {LONGEST:,} characters, or {MOST_WORDS} words, numbers and marks",
}


def refusal(reason: str, found: str, commands: tuple[str, ...] = ()) -> str:
    """What was not done and why, with the words that tell, and the commands that would do it."""
    told = f" ('{one_line(found)[:80]}')" if found.strip() else ""
    done = f" If it is to be done, type: {'; '.join(commands)}" if commands else ""
    return f"Nothing was run or proposed: {_WHY[reason]}{told}.{done}"
