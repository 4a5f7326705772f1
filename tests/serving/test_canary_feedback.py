"""What users say of answers is evidence on a canary: a bad one is withdrawn by it alone, a good one stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opswright.core.gate import Decision
from opswright.serving.canary.evidence import CanaryEvidence
from opswright.serving.canary.judgement import Bars, faults, judge
from opswright.serving.canary.reader import CanaryReader
from opswright.serving.releases import CanaryLimits, read_state
from tests.serving.test_canary_watch import ship, watch_of, withdrawn
from tests.serving.test_comparison import CANARY, STABLE, rows

if TYPE_CHECKING:
    from tests.serving.conftest import House


def rated(canary_wrong: int, stable_wrong: int, n: int = 100, session: str = "") -> CanaryEvidence:
    """Evidence of n rated answers of the canary and nine times as many of stable, wrong ones first."""
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, 200))
    for release, wrong, count in ((STABLE, stable_wrong, 9 * n), (CANARY, canary_wrong, n)):
        for number, row in enumerate(rows(release, count)):
            said = type(row)(**{**vars(row), "id": f"{release}-{number}", "session": session})
            found.rate(said, is_right=number >= wrong)
    return found


def complaints(evidence: CanaryEvidence) -> Decision:
    (row,) = (one for one in judge(evidence, Bars()) if one.name == "complaints")
    return row.decision


def test_a_canary_that_users_complain_of_is_found_and_what_was_counted_is_said() -> None:
    (row,) = faults(rated(30, 45), Bars())
    assert (row.name, row.message) == (
        "complaints", "30 of the canary's 100 rated answers, 45 of stable's 900"
    )  # fmt: skip


def test_a_canary_that_users_complain_of_as_often_as_of_stable_is_not() -> None:
    assert faults(rated(20, 180), Bars()) == []


def test_without_a_word_of_users_there_is_no_row() -> None:
    found = CanaryEvidence.starting(CANARY, STABLE, rows(STABLE, 200))
    assert "complaints" not in {row.name for row in judge(found, Bars())}


def test_few_words_of_users_show_nothing_and_that_is_said() -> None:
    (row,) = (one for one in judge(rated(0, 0, n=3), Bars()) if one.name == "complaints")
    assert row.decision is Decision.INCONCLUSIVE
    assert "3 rated answers are few: up to" in row.message


def test_a_caller_complains_once_however_often_they_say_so() -> None:
    assert complaints(rated(60, 0, session="one")) is not Decision.NO_GO
    assert complaints(rated(60, 0)) is Decision.NO_GO


def test_who_takes_a_complaint_back_has_not_complained() -> None:
    evidence = rated(30, 0)
    for number, row in enumerate(rows(CANARY, 30)):
        evidence.rate(type(row)(**{**vars(row), "id": f"{CANARY}-{number}"}), is_right=True)
    assert evidence.met("complaints") == ((0, 100), (0, 900))
    assert faults(evidence, Bars()) == []


@pytest.mark.parametrize("says", ["thumb", "answer"])
def test_a_canary_whose_answers_users_call_wrong_is_withdrawn_with_nobody_there(
    served: House, says: str
) -> None:
    canary = ship(served)
    for number in range(60):
        reply = served.chat("hello", {"x-session-id": f"s{number}"})
        is_canary = reply.headers["x-opswright-route"] == "canary"
        word = ("down" if is_canary else "up") if says == "thumb" else "answer of 1"
        body = {"model": "support", "id": reply.json()["id"], says: word}
        assert served.run(served.call("POST", "/v1/feedback", body=body)).status_code == 200
    (row,) = watch_of(served).look("support")
    assert (row.name, row.decision) == ("complaints", Decision.NO_GO)
    (told,) = withdrawn(served)
    assert told["canary"] == canary and "complaints: " in str(told["reason"])


def test_what_is_said_while_a_canary_is_out_is_read_once_and_as_it_comes(served: House) -> None:
    before = served.chat("hello").json()["id"]
    canary = ship(served)
    state = read_state(served.workspace, "support")
    reader = CanaryReader(served.workspace, state, CanaryLimits().max_slower)
    assert state.canary is not None and state.canary.id == canary
    ids = [served.chat("hello", {"x-session-id": f"s{n}"}).json()["id"] for n in range(12)]
    counted = []
    for about in (before, *ids[:5]), ids[5:12], ():
        for number in about:
            body = {"model": "support", "id": number, "thumb": "down"}
            served.run(served.call("POST", "/v1/feedback", body=body))
        mine, theirs = reader.update().met("complaints")
        counted.append(mine[1] + theirs[1])
    assert counted == [5, 12, 12]
