"""The prompts: each version is a file, and MLflow's registry has it as it is shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opswright.agents.planner.llm import prompts as folder
from opswright.agents.planner.llm.prompt_registry import PREFIX, register_prompts
from opswright.agents.planner.llm.prompts import PlannerPrompt, prompt, prompts


def test_a_version_that_was_shipped_never_changes() -> None:
    kept = {
        line.split()[1]: line.split()[0]
        for line in (Path(folder.__file__).parent / "digests.txt").read_text().splitlines()
    }
    assert kept == {one.label: one.digest for one in prompts()}  # a change is a new file


def test_the_newest_version_counts_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [PlannerPrompt("rules", number, str(number)) for number in (2, 10, 9)]
    monkeypatch.setattr(folder, "prompts", lambda: texts)
    assert prompt("rules").version == 10 and prompt("rules").label == "rules.v10"


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's own use of SQLAlchemy
def test_mlflow_has_each_version_once_with_its_digest(tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first, again = register_prompts(uri), register_prompts(uri)
    assert [one.is_new for one in first] == [True] * len(prompts())
    assert [(one.version, one.is_new) for one in again] == [(one.version, False) for one in first]
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        kept = mlflow.genai.load_prompt(f"prompts:/{PREFIX}rules@shipped-1")
        assert kept.template == prompts()[0].text and kept.tags["sha256"] == prompts()[0].digest
    finally:
        mlflow.set_tracking_uri(before)
        mlflow.set_registry_uri(before)
    shutil.rmtree(tmp_path, ignore_errors=True)
