"""Weights chosen by a suite: what held-out rows may not choose, and what a gate knows again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError, IntegrityError
from opswright.core.gate import GateSpec
from opswright.data.dataset import DatasetWriter, write_samples
from opswright.data.sample import Sample
from opswright.data.text import fingerprint
from opswright.evals.contamination import MatchKind
from opswright.evals.gate_eval import GateEvidence, judge
from opswright.evals.prompts import Prompt
from opswright.evals.scorers.registry import ScorerSpec
from opswright.evals.selection import check_may_choose, chosen_by, selection_document
from opswright.evals.suites import Suite
from opswright.evals.suites.portable import suite_document, suite_of

Context = Callable[..., StepContext]
ITEMS = tuple(
    Sample.of(f"i{n}", f"please move {n} euros to account {n * 7} now", "transfer") for n in range(20)
)


def suite(items: tuple[Sample, ...] = ITEMS, name: str = "chooser") -> Suite:
    return Suite(name, items)


def dataset(ctx: StepContext, golden: tuple[Sample, ...]) -> DatasetRef:
    with ctx.artifacts.staging() as folder:
        write_samples(folder, golden, "golden", {})
        held_out = ctx.artifacts.save(DatasetRef, folder, {"golden": True})
    with ctx.artifacts.staging() as folder:
        with DatasetWriter(folder, seed=0) as writer:
            writer.add(Sample.of("t", "what is my balance", "balance"), "train", "t")
        return ctx.artifacts.save(DatasetRef, folder, {}, [held_out])


def test_a_suite_that_asks_what_the_golden_set_holds_out_may_not_choose(context: Context) -> None:
    ctx = context()
    other = Sample.of("x", "which film won the prize this year", "film")
    check_may_choose(ctx.artifacts, dataset(ctx, (other,)), suite())
    polite = Sample.of("y", ITEMS[3].question.upper() + "!", "transfer")  # the same words
    with pytest.raises(AskError, match=r"1 of the 20 items of suite chooser are in dataset:.*holds out"):
        check_may_choose(ctx.artifacts, dataset(ctx, (other, polite)), suite())


def test_a_gate_knows_the_items_again_however_they_were_changed_a_little() -> None:
    told = selection_document(suite(), [(4, 0.5), (8, 0.75)])
    assert told["scores"] == [{"step": 4, "value": 0.5}, {"step": 8, "value": 0.75}]
    known = [ITEMS[n].question for n in range(6)]
    changed = [known[0], known[1].upper() + "!", known[2].replace("please", "plaese")]
    changed += [f"hello there, {known[3]}, many thanks", known[4].removeprefix("please ")]
    assert chosen_by([told], changed).total() == 5
    assert chosen_by([told], [known[5].replace("5 euros", "50 euros"), "a new question altogether"]) == {}
    assert chosen_by([], changed) == chosen_by([told], []) == {}


def test_a_record_of_digests_alone_knows_the_same_words_again() -> None:
    mark = hashlib.sha256(fingerprint(ITEMS[0].question).encode()).hexdigest()[:32]
    texts = [ITEMS[0].question.upper(), ITEMS[1].question]
    assert chosen_by([{"suite": "old", "asked": [mark]}], texts) == {"normalised": 1}


def test_items_that_chose_the_weights_make_a_verdict_inconclusive(measured: Any) -> None:
    spec, report = GateSpec(suite="clinc150", min=0.5), measured(old=(190, 200))
    assert judge(spec, report, None).decision == "GO"
    chose = Counter({MatchKind.MISSPELT: 3, MatchKind.VERBATIM: 4})
    held = judge(spec, report, None, GateEvidence(chose_weights=chose))
    assert held.decision == "INCONCLUSIVE"
    (row,) = [row for row in held.rows if row.name == "items that chose"]
    assert "7 of 200 items decided which weights" in row.message
    assert "(4 verbatim, 3 misspelt)" in row.message


def test_a_suite_comes_back_from_its_document_as_it_was() -> None:
    whole = dataclasses.replace(
        suite(),
        prompt=Prompt(system="Be brief.", template="Q: {{ question }}", examples=(ITEMS[0],)),
        scorers=(ScorerSpec("exact_match", label="exact", take=r"\w+"),),
        max_new_tokens=9,
    )
    document = suite_document(whole)
    again = suite_of(document)
    assert (again.digest, again.longest_answer) == (whole.digest, 9)
    assert again.prompt.chat(ITEMS[2]) == whole.prompt.chat(ITEMS[2])
    document["items"][0]["targets"] = ["another answer"]
    with pytest.raises(IntegrityError, match="its digest is another"):
        suite_of(document)


def test_a_suite_with_a_scorer_of_the_project_s_own_is_not_handed_over(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("x = 1\n")
    with pytest.raises(AskError, match="own file"):
        suite_document(dataclasses.replace(suite(), scorers=(ScorerSpec("mine", file=file),)))
