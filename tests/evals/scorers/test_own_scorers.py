"""Scorers of a project's own file and of other packages: what they may give, and when their code may run."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, HeldError
from opswright.core.files import sha256_path
from opswright.data.sample import Sample
from opswright.evals.scorers import (
    Score,
    Scorer,
    ScorerSpec,
    ScoringContext,
    load_scorer,
    registry,
    scorer,
    scorer_names,
)

POLITE = '''
from opswright.evals.scorers import scorer


@scorer(binary=True)
def polite(sample, answer):
    """Whether the answer says please."""
    return "please" in answer.lower()


def helper():
    pass
'''
SAMPLE = Sample.of("1", "q", "a")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "own.py").write_text(POLITE)
    return folder


def load(file: Path, trust: Path | None, name: str = "polite", **fields: Any) -> Scorer:
    return load_scorer(ScorerSpec(name, file=file, **fields), ScoringContext(), trust)


def test_ten_lines_in_the_project_make_a_scorer(project: Path) -> None:
    before = sha256_path(project)
    made = load(project / "own.py", project)
    assert made.score(SAMPLE, "Please wait.") == Score(1.0) and made.score(SAMPLE, "Wait.") == Score(0.0)
    assert (made.name, made.is_binary, made.summary) == ("polite", True, "Whether the answer says please.")
    assert sha256_path(project) == before  # running it leaves nothing behind


def test_code_outside_the_trusted_folder_is_never_run(project: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (project / "own.py").write_text(f"open({str(touched)!r}, 'w')\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / "link.py").symlink_to(project / "own.py")
    for file, trust in (
        (project / "own.py", None),
        (project / "own.py", other),
        (other / ".." / "project" / "own.py", other),
        (other / "link.py", other),
    ):
        with pytest.raises(HeldError, match=r"runs only when its folder is trusted.*`trust="):
            load(file, trust)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (POLITE, "polit", r"no scorer 'polit' in .*own.py \(it has: polite\). Did you mean 'polite'"),
        (POLITE, "helper", "decorate the function"),
        ("1 / 0", "polite", "does not run: ZeroDivisionError"),
        ("def", "polite", "does not run: SyntaxError"),
    ],
)
def test_a_file_that_does_not_hold_the_scorer_is_refused(
    project: Path, source: str, name: str, message: str
) -> None:
    (project / "own.py").write_text(source)
    with pytest.raises(AskError, match=message):
        load(project / "own.py", project, name)
    with pytest.raises(AskError, match="takes no parameters"):
        load(project / "own.py", project, name, parameters={"x": 1})


@pytest.mark.parametrize(
    ("value", "binary", "score", "fault"),
    [
        (0.25, False, 0.25, None),
        (True, True, 1.0, None),
        (None, False, None, None),
        (float("nan"), False, None, "gave nan"),
        (6.99, False, None, "gave 6.99, expected a number from 0 to 1"),
        (-0.1, False, None, "gave -0.1"),
        (float("inf"), False, None, "gave inf"),
        (10**400, False, None, "gave int"),
        (0.5, True, None, "declared binary"),
        ("1", False, None, "gave '1'"),
        ([1], False, None, "gave list"),
    ],
)
def test_what_is_no_score_is_a_fault_and_never_zero(value: Any, binary: bool, score: Any, fault: Any) -> None:
    @scorer(binary=binary, name="given")
    def given(sample: Sample, answer: str) -> Any:
        return value

    found = given.score(SAMPLE, "x")
    assert found.value == score and (found.fault is None if fault is None else fault in str(found.fault))


def test_a_scorer_that_raises_faults_this_one_answer_alone() -> None:
    @scorer(binary=True)
    def fragile(sample: Sample, answer: str) -> bool:
        return 1 / int(answer) > 0

    assert fragile.score(SAMPLE, "0").fault == "ZeroDivisionError: division by zero"
    assert fragile.score(SAMPLE, "2") == Score(1.0)


def test_a_scorer_that_exits_ends_nothing_but_this_answer() -> None:
    def leaves(sample: Sample, answer: str) -> float:
        sys.exit(0)

    score = Scorer("leaves", leaves, True).score(Sample.of("1", "q", "a"), "a")
    assert score.value is None and "SystemExit" in (score.fault or "")


def test_no_answer_at_all_is_as_wrong_as_a_wrong_one() -> None:
    @scorer(binary=True, needs="target")
    def always(sample: Sample, answer: str) -> bool:
        return True

    assert always.score(SAMPLE, None) == Score(0.0)
    assert always.score(Sample.of("2", "q"), None) == Score(None)  # nothing to compare with: not scored


def test_a_package_brings_scorers_by_an_entry_point() -> None:
    group = [EntryPoint("reads_well", "opswright.evals.scorers.base:scorer", "opswright.scorers")]
    assert "reads_well" in scorer_names(group) and "exact_match" in scorer_names(group)
    with pytest.raises(AskError, match=r"'reads_well' of .* is not a scorer"):
        load_scorer(ScorerSpec("reads_well"), ScoringContext(), group=group)
    ours = [EntryPoint("exact_match", "os:system", "opswright.scorers")]
    assert (
        load_scorer(ScorerSpec("exact_match"), ScoringContext("generate"), group=ours)
        .score(SAMPLE, "a")
        .value
        == 1
    )


def test_the_code_of_a_package_is_part_of_what_its_scores_may_be_compared_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents: list[Any] = []
    for code in ("raise SystemExit", "raise SystemExit(1)"):
        site = tmp_path / str(len(documents))
        (site / "polite_scorers" / "inner").mkdir(parents=True)
        (site / "polite_scorers" / "__init__.py").write_text("raise SystemExit  # nothing here is run")
        (site / "polite_scorers" / "inner" / "how.py").write_text(code)
        (site / "polite_scorers-1.dist-info").mkdir()
        (site / "polite_scorers-1.dist-info" / "METADATA").write_text("Name: polite-scorers\nVersion: 1\n")
        points = "[opswright.scorers]\npolite = polite_scorers.inner.how:polite\n"
        (site / "polite_scorers-1.dist-info" / "entry_points.txt").write_text(points)
        registry._code_of.cache_clear()  # as in another process
        with monkeypatch.context() as patch:
            patch.syspath_prepend(site)
            documents.append(ScorerSpec("polite").document())
    assert documents[0] != documents[1]


def test_one_scorer_may_stand_twice_under_two_labels() -> None:
    made = load_scorer(ScorerSpec("regex", {"pattern": "x"}, label="says_x"), ScoringContext())
    assert made.name == "says_x" and made.score(SAMPLE, "x") == Score(1.0)
