"""What is said where the record has no answer, and facts that answer another question than was asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from opswright.agents.memory import MemoryIndex, Passage, QuestionFilters, answer, facts
from opswright.agents.memory.coverage import missing
from opswright.agents.memory.index import Found
from opswright.agents.memory.question import QuestionFilters as Filters
from opswright.agents.planner import RecordAnswer
from opswright.core.principal import Principal
from opswright.core.registry import Registry
from opswright.core.workspace import Workspace
from opswright.record.ledger import Entry, Ledger, Phase

PASSAGES = (
    Passage("v", "verdict", "Verdict NO_GO of gate", "gate judged v2 NO_GO: shop dropped under 85%.", seq=4),
    Passage("d", "docs", "Rollouts", "A canary of endpoint billing is rolled back.", source="docs/x.md"),
)


class Fixed(MemoryIndex):
    """Finds the same passages whatever is asked."""

    def __init__(self, passages: Sequence[Passage] = PASSAGES) -> None:
        self._found = Found(tuple(passages))

    def search(self, question: str, filters: QuestionFilters = Filters(), k: int = 5) -> Found:  # noqa: B008
        return self._found


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("why was v7 refused by the gate?", "v7"),
        ("what did Maria say when the gate judged?", "Maria"),
        ("why was the endpoint billing judged NO_GO?", "billing"),  # only the documentation has it
    ],
)
def test_a_name_that_no_passage_of_the_record_has_is_said_to_be_unknown(question: str, name: str) -> None:
    found = answer(question, QuestionFilters(), Fixed())
    assert found.nothing and found.document()["nothing_recorded"] is True
    assert found.notes[0].startswith("Nothing recorded answers this") and f"'{name}'" in found.notes[0]


@pytest.mark.parametrize(
    "question", ["why was v2 judged NO_GO?", "did shop drop under 85%?", "why did the gaet judge v2 NO_GO"]
)
def test_what_the_passages_speak_of_is_not_called_nothing(question: str) -> None:
    assert not answer(question, QuestionFilters(), Fixed()).nothing


def test_whatever_was_recorded_at_a_time_is_what_happened_then() -> None:
    found = answer("what happened yesterday?", QuestionFilters(), Fixed())
    assert not found.nothing and "Only what was recorded 'yesterday'" in found.notes[0]
    assert answer("what happened to the tomatoes yesterday?", QuestionFilters(), Fixed()).nothing


def test_half_of_the_words_may_be_others_and_no_more() -> None:
    assert not missing("which suite dropped heavily?", ["the suite shop dropped"]).is_much
    assert missing("what salary do the labelling people get in winter?", ["the suite shop dropped"]).is_much
    assert missing("relase promted", ["release v2 was promoted"]).words == ()  # slips of the finger


@pytest.mark.parametrize(
    ("question", "is_stated"),
    [
        ("what is live?", True),
        ("which release serves shop now?", True),
        ("what did the canary score on the golden sample?", False),
        ("which release serves the endpoint billing?", False),
    ],
)
def test_a_fact_is_stated_only_where_it_speaks_of_the_whole_question(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, question: str, is_stated: bool
) -> None:
    reply = RecordAnswer("shop: v2 (stable, 100 %), since noon (promoted v2, record 9).", "live", (9,))
    monkeypatch.setattr(facts, "propose", lambda ask, registry, workspace: reply)
    assert bool(facts.fact_finder(workspace, Registry())(question)) is is_stated


@pytest.mark.parametrize(
    ("question", "about", "is_stated"),
    [
        ("what happened today?", "status", True),
        ("what happened yesterday?", "status", False),
        ("what happened?", "status", True),
        ("what was live yesterday?", "live", True),  # what stands was recorded when it was made so
    ],
)
def test_what_happened_at_a_time_is_not_told_by_a_record_of_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, question: str, about: str, is_stated: bool
) -> None:
    who = Principal("ada", ("releaser",), "test")
    record = Ledger.of(workspace).append_all([Entry(Phase.DENIED, run="run-1", detail={"why": "x"})], who)[0]
    reply = RecordAnswer("The run is denied. It happened; live.", about, (record.seq,))
    monkeypatch.setattr(facts, "propose", lambda ask, registry, workspace: reply)
    assert bool(facts.fact_finder(workspace, Registry())(question)) is is_stated
