"""Plain facts: what the record answers for certain, without a passage being searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ...core.errors import OpswrightError
from ...record.index import LedgerIndex
from ...record.ledger import Record
from ..planner import PHRASES, Ask, RecordAnswer, propose
from .answer import Fact, FactFinder
from .coverage import missing
from .said_times import said_time

if TYPE_CHECKING:
    from ...core.registry import Registry
    from ...core.workspace import Workspace

_NO_FACT = "help"  # what can be asked is in the docs
_RESOLVED = re.compile(  # names that the answer went by
    r"\b(?:v\d+|\d{8}-\d{6}-[0-9a-f]{6}|\d{4}-\d\d-\d\d)\b", re.IGNORECASE
)
_STANDS = {"live", "best", "waiting", "audit", "trained"}  # what holds at a time, whenever it was recorded
_EVERY = """
run runs plan plans model release version endpoint step last latest newest previous current recent
recently yesterday today ago happen happened record
"""
_OF_A_DEED = """
deployed promoted ran started proposed trained evaluated built finished ended launched requested
released done training deployment evaluation
"""
_TOLD_BY = {  # the words of questions that a fact of its kind does answer
    "live": "live serves serving deployed running stable canary production traffic users customers "
    "gets behind currently answers",
    "approved": "approved approval consent signed agreed allowed accepted green",
    "refused": "refused denied rejected failed wrong stopped blocked withdrawn declined reason crashed "
    "gate go deployed promoted released back rolled",
    "cost": "cost price bill spent minutes hours long time took take expensive duration",
    "best": "best top highest winning leading better ahead leaderboard score scores accuracy accurate good",
    "who": _OF_A_DEED,
    "when": _OF_A_DEED + " time old since approved refused",
    "waiting": "waiting wait waits pending approve approval approvals need needs open",
    "status": _OF_A_DEED
    + " running progress busy status state verdict outcome result succeed failed passed work",
    "trained": "trained learned data dataset base built made come comes from lineage derived based",
    "audit": "ledger chain log history intact valid altered tampered complete trust changed audit",
}


def fact_finder(workspace: Workspace, registry: Registry) -> FactFinder:
    """Who knows what is served, who approved what, why something was refused: as the chat answers it."""

    def find(question: str) -> Sequence[Fact]:
        try:
            reply = propose(Ask(PHRASES, question), registry, workspace)
        except OpswrightError as error:
            return (Fact(f"The record could not be asked: {error}"),)
        if not isinstance(reply, RecordAnswer) or reply.about == _NO_FACT:
            return ()
        if is_of_another_time(question, reply, workspace):
            return ()
        known = f"{_EVERY} {_TOLD_BY.get(reply.about, '')}".split()
        lacks = missing(_RESOLVED.sub(" ", question), [reply.text], known)
        if lacks.names or lacks.words:
            return ()  # it begins as such a question does, and asks for something else
        return (Fact(reply.text, reply.records),)

    return find


def is_of_another_time(question: str, reply: RecordAnswer, workspace: Workspace) -> bool:
    """Whether a question names a time, and no record that its answer rests on is of that time.

    What a model answered is left to it: it may say that there was nothing.
    """
    said = said_time(question)
    by_model = reply.planned_by is not None and bool(reply.planned_by.model)
    if said is None or by_model or reply.about in _STANDS or not reply.records:
        return False
    found = [LedgerIndex.of(workspace).get(seq) for seq in reply.records]
    times = [datetime.fromisoformat(one.time) for one in found if isinstance(one, Record)]
    since = datetime.fromisoformat(said.since)
    until = None if said.until is None else datetime.fromisoformat(said.until)
    return not any(since <= time and (until is None or time < until) for time in times)
