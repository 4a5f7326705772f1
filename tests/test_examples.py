"""The examples: plans that compile, suites that hold, data with licence and source, pages that are linked."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

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
ANSWERS = ROOT / "examples" / "answers"


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


def rows(name: str) -> list[dict[str, Any]]:
    lines = (ANSWERS / "data" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_an_answer_stands_in_its_passages_and_on_no_page_of_the_training() -> None:
    train, golden = rows("train.jsonl"), rows("golden.jsonl")
    for row in (*train, *golden):
        assert any(row["reference"] in passage for passage in row["contexts"]), row
    assert not {row["page"] for row in train} & {row["page"] for row in golden}
    assert min(Counter(row["kind"] for row in golden).values()) >= 10


def test_the_questions_are_made_from_the_tables_of_pages(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_rows", ANSWERS / "make_rows.py")
    assert spec and spec.loader
    make_rows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_rows)
    (tmp_path / "guide").mkdir()
    (tmp_path / "reference").mkdir()
    table = (
        "# {0}\n\n| name | type | default | meaning |\n|---|---|---|---|\n{1}\n\n| not | this |\n|---|---|\n"
    )
    facts = "| `{0}_rows` | n | 3 | Rows of {0}. |\n| `{0}_kind` | a\\|b | none | One of a\\|b. |"
    for page in ("curate", "drift"):
        (tmp_path / "reference" / f"{page}.md").write_text(table.format(page, facts.format(page)))
    draws = make_rows.DRAWS
    assert make_rows.make(tmp_path, tmp_path) == ((3 + 2 + 2 + 3 + 2) * draws, 5)
    golden = [json.loads(line) for line in (tmp_path / "golden.jsonl").read_text().splitlines()]
    assert Counter(row["reference"] for row in golden) == Counter(
        ["Rows of drift.", "3", "drift_rows", "One of a|b.", "drift_kind"]
    )
    assert all(len(row["contexts"]) == 2 for row in golden)
