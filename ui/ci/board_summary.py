"""The changes of a leaderboard as Markdown for a comment, or as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from ...evals.board_diff import BoardChange
from ...evals.leaderboard import LeaderboardRow, text_table
from .summary import markdown

HEAD = ("suite", "model", "change", "before", "now", "difference", "finding", "verdict")


def board_markdown(changes: Sequence[BoardChange], base: str) -> str:
    """A section in which nothing that a model's or suite's name says is markup."""
    lines = ["## Leaderboard", ""]
    if not changes:
        return "\n".join([*lines, f"Nothing changed since {markdown(base)}.", ""])
    lines += [f"Since {markdown(base)}; values with their 95 % intervals.", ""]
    lines += [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(map(markdown, _cells(one)))} |" for one in changes]
    if any(one.what == "new" and one.against is not None for one in changes):
        lines += ["", "New models are held against the base's best of the suite."]
    return "\n".join([*lines, ""])


def board_text(changes: Sequence[BoardChange]) -> str:
    """The same as a plain table."""
    return text_table(HEAD, [_cells(one) for one in changes]) if changes else "nothing changed"


def _cells(change: BoardChange) -> tuple[str, ...]:
    before = change.before or change.against
    told = change.difference
    difference = "-"
    if told is not None:
        difference = f"{told.difference:+.1%} ({told.low:+.1%} to {told.high:+.1%}, {told.basis})"
    held = f" ({before.name})" if change.before is None and before is not None else ""
    return (
        change.suite,
        change.model,
        change.what,
        _figure(before) + held,
        _figure(change.now),
        difference,
        change.finding,
        _verdict(change),
    )


def _figure(line: LeaderboardRow | None) -> str:
    if line is None:
        return "-"
    return f"{line.value:.1%} ({line.low:.1%} to {line.high:.1%}, n {line.n:,})"


def _verdict(change: BoardChange) -> str:
    before = change.before.verdict if change.before is not None else None
    now = change.now.verdict if change.now is not None else None
    return f"{before or '-'} to {now or '-'}" if change.before is not None and before != now else now or "-"
