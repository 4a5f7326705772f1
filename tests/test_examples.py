"""The examples: plans that compile, suites that hold, data with licence and source, pages that are linked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import opswright
from opswright.core.compile import compile_plan
from opswright.core.plan_file import read_plan_file
from opswright.evals.suites import load_suite
from opswright.evals.suites.draft import scores_of_right_answers
from opswright.skills import load_registry

ROOT = Path(opswright.__file__).parent
FOLDERS = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
EXAMPLES = [folder for folder in FOLDERS if (folder / "v1.yaml").is_file()]
PLANS = [plan for folder in EXAMPLES for plan in sorted(folder.glob("*.yaml"))]
SUITES = [suite for folder in EXAMPLES for suite in sorted((folder / "suites").glob("*.yaml"))]
RAILS = [rails for folder in EXAMPLES if (rails := folder / "guardrails").is_dir()]
RAW = [raw for folder in FOLDERS for raw in sorted((folder / "raw").glob("*"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("plan", PLANS, ids=named)
def test_every_plan_compiles_and_says_how_it_is_run(plan: Path) -> None:
    assert compile_plan(read_plan_file(plan), load_registry()).steps
    assert f"opswright run {named(plan)}" in plan.read_text(encoding="utf-8")


@pytest.mark.parametrize("suite", SUITES, ids=named)
def test_every_suite_gives_its_own_right_answers_full_marks(suite: Path) -> None:
    found = load_suite(suite)
    assert found.licence and found.source and len(found.items) >= found.min_items >= 100
    for metric, score in scores_of_right_answers(found, suite.parent).items():
        assert (score["mean"], score["n"], score["faults"]) == (1, len(found.items), 0), metric


@pytest.mark.parametrize("folder", EXAMPLES, ids=named)
def test_every_example_has_a_page_that_the_first_page_links(folder: Path) -> None:
    assert (folder / "README.md").is_file()
    assert f"({named(folder)}/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rails", RAILS, ids=named)
def test_rails_of_an_example_have_texts_to_block_and_to_let_pass(rails: Path) -> None:
    assert (rails / "config" / "config.yml").is_file()
    for name in ("must_block.jsonl", "must_pass.jsonl"):
        lines = (rails / name).read_text(encoding="utf-8").splitlines()
        assert len([json.loads(line)["text"] for line in lines]) >= 20


@pytest.mark.parametrize("raw", RAW, ids=named)
def test_all_data_of_others_lies_with_its_licence_and_its_source(raw: Path) -> None:
    assert (raw / "LICENCE.txt").stat().st_size > 100
    source = (raw / "SOURCE.md").read_text(encoding="utf-8")
    for path in raw.iterdir():
        assert path.name in (*source.split("`"), "LICENCE.txt", "SOURCE.md"), path
