"""`opswright agent` in plain language: what it prints, what it ends with, and what --yes does not do."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.registry import Registry
from opswright.ui.cli import run


@pytest.fixture
def skills(tmp_path: Path, small_skills: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Registry:
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    return Registry(small_skills.SKILLS)


def ended(skills: Registry, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code = run(["agent", *words, "--json"], skills)
    return code, json.loads(capsys.readouterr().out)


def test_a_sentence_proposes_and_is_no_consent(skills: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = ended(skills, capsys, "please collect lines.txt")
    assert (code, document["status"], document["results"]) == (5, "waiting", {})


def test_yes_is_consent_to_what_makes_artifacts(skills: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = ended(skills, capsys, "collect lines.txt", "--yes")
    assert (code, document["status"]) == (0, "done")


class RingRequest(Request):
    """Nothing to choose."""


class RingResult(Result):
    rung: bool


@skill(effect=Effect.SERVES, summary="Ring it.", phrases=["ring the bell"], serves=lambda ask, workspace: [])
def ring(request: RingRequest, ctx: StepContext) -> RingResult:
    (ctx.workspace.root / "rung").touch()
    return RingResult(rung=True)


def test_yes_is_no_consent_to_what_a_sentence_would_serve(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, skills: Registry
) -> None:
    code, document = ended(Registry((ring,)), capsys, "please ring the bell", "--yes")
    assert (code, document["status"]) == (5, "waiting") and not list(tmp_path.rglob("rung"))
    assert run(["ring", "--yes"], Registry((ring,))) == 0 and list(tmp_path.rglob("rung"))


def test_what_runs_nothing_is_one_document_with_its_code(
    skills: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    code, question = ended(skills, capsys, "train")
    assert (code, question["status"]) == (2, "question") and question["message"]
    code, declined = ended(skills, capsys, "do not collect lines.txt")
    assert (code, declined["reason"], declined["commands"]) == (2, "negated", ["/collect source=lines.txt"])
    code, answered = ended(skills, capsys, "what is waiting for approval?")
    assert (code, answered["status"], answered["records"]) == (0, "answered", [])
