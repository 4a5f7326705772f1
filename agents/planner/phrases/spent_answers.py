"""Questions about sums of what was spent: by everybody, by one person, in a time, told from the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ....record.spending import SpendLine, spend_report
from ..base import RecordAnswer
from .record_words import amount_words

if TYPE_CHECKING:
    from ....core.workspace import Workspace

_SPENT = re.compile(r"\b(?:spen[dt]|spends|spending|costs?|paid|used up|burn\w*)\b")
_SUM = re.compile(
    r"\b(?:so far|in total|in all|all ?together|overall|(?:until|till) now"
    r"|(?:this|last|previous) (?:week|month|year)|today|yesterday|since|we|us|our"
    r"|everybody|everyone|the team|anybody|most|each|per|who has|who spent)\b"
)
_ONE_RUN = re.compile(
    r"\b(?:that|the|this|last|latest) (?:\w+ )?(?:run|plan|step|training|evaluation|deployment|release"
    r"|engine|model|retraining|build|canary|experiment|one)\b"
)


def spent_answer(said: str, workspace: Workspace) -> RecordAnswer | None:
    """What the ledger says was spent, where a question is about a sum or a person; None for any other.

    said: the question, in lower case. Raises IntegrityError for a damaged ledger.
    """
    from ...memory.said_times import said_time

    if _SPENT.search(said) is None or _ONE_RUN.search(said) is not None:
        return None
    window = said_time(said)
    ever = spend_report(workspace, "person")
    report = ever if window is None else spend_report(workspace, "person", window.since, window.until)
    people = [line.name for line in ever.lines]
    named = [one for one in people if re.search(rf"(?<!\w){re.escape(one.casefold())}(?!\w)", said)]
    if not named and _SUM.search(said) is None:
        return None
    when = f" {window.words}" if window is not None else " so far"
    found = {line.name: line for line in report.lines}
    if named:
        told = "; ".join(f"{one} spent{when}: {_amounts(found.get(one))}" for one in named)
    else:
        shares = "".join(f"; {line.name}: {_amounts(line)}" for line in report.lines)
        told = f"Spent{when}: {_amounts(report.total)}{shares}"
    return RecordAnswer(f"{told}. `opswright spend --by skill` says on what.", "cost")


def _amounts(line: SpendLine | None) -> str:
    if line is None:
        return "nothing"
    words = _in_words(line.spent) or "nothing"
    held = _in_words(line.reserved)
    return f"{words}, and {held} reserved for what goes on" if held else words


def _in_words(amounts: Mapping[str, float]) -> str:
    return ", ".join(amount_words(name, value) for name, value in amounts.items() if value)
