"""Forms of the verbs that phrases begin with."""

from __future__ import annotations

from collections.abc import Iterator


def gerunds_of(head: str) -> Iterator[str]:
    """Forms that follow "would you mind": evaluating, for evaluate."""
    if not head.isalpha() or len(head) < 3:
        return
    yield head + "ing"
    if head.endswith("e"):
        yield head[:-1] + "ing"
    else:
        yield head + head[-1] + "ing"


_IRREGULAR = {
    "build": "built", "make": "made", "send": "sent", "write": "written", "show": "shown", "draw": "drawn",
    "take": "taken", "give": "given", "bring": "brought", "teach": "taught", "keep": "kept", "put": "put",
    "split": "split", "withdraw": "withdrawn", "undo": "undone",
}  # fmt: skip


def participles_of(head: str) -> Iterator[str]:
    """Forms that follow "should be": evaluated, for evaluate."""
    if not head.isalpha() or len(head) < 3:
        return
    if head in _IRREGULAR:
        yield _IRREGULAR[head]
    elif head.endswith("e"):
        yield head + "d"
    elif head.endswith("y") and head[-2] not in "aeiou":
        yield head[:-1] + "ied"
    else:
        yield head + "ed"
        yield head + head[-1] + "ed"
