"""Suites of published data that are shipped beside those of rails: what is in them, and from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.evals.suites import in_slice, load_suite, ragas_samples


def test_clinc150_comes_with_the_requests_that_no_intent_fits() -> None:
    suite = load_suite("clinc150_oos")
    sizes = {name: sum(in_slice(item, rule) for item in suite.items) for name, rule in suite.slices().items()}
    assert sizes == {"in": 4500, "out": 1000} and len(suite.labels) == 151
    assert {item.targets for item in suite.items if item.tags["scope"] == "out"} == {("oos",)}


def test_samples_of_ragas_are_as_their_source_has_them() -> None:
    questions, tickets = load_suite("ragas_questions"), load_suite("ragas_tickets")
    assert (len(questions.items), len(tickets.items)) == (65, 20)
    assert questions.items[0].question.endswith("`tokenizers-linux-x64-musl` binary designed for?\n")
    assert tickets.items[0].targets == ('{"labels": ["Billing", "RefundCancel"], "priority": "P1"}',)
    for suite in (questions, tickets):
        assert suite.licence == "Apache 2.0" and (ragas_samples.FOLDER / "SOURCE.md").is_file()


@pytest.mark.parametrize(
    "text", ["", "question\nx\n", 'question,expected_answer\n"x', "question,expected_answer\nx\n"]
)
def test_a_damaged_file_of_ragas_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragas_samples, "FOLDER", tmp_path)
    with pytest.raises(AskError, match=r"no hf_doc_qa_eval\.csv in"):
        ragas_samples.questions()
    (tmp_path / "hf_doc_qa_eval.csv").write_text(text)
    with pytest.raises(AskError, match="is not in the layout it was published in"):
        ragas_samples.questions()
