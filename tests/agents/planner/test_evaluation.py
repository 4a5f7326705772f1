"""The suite for planners: a model of one's own on the leaderboard, as a planner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.agents.planner.evaluation import SETS, evaluate_planner, save_report
from opswright.agents.planner.evaluation.scoring import load
from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.settings.planner import PlannerSettings
from opswright.core.workspace import Workspace
from opswright.evals.standings import standings

DEPLOYS: dict[str, Any] = {"steps": [{"id": "live", "skill": "promote", "with": {"endpoint": "shop"}}]}


@pytest.fixture(autouse=True)
def _folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(playing: ModuleType) -> Iterator[Any]:
    with playing.model_server() as one:
        yield one


def settings_of(server: Any) -> PlannerSettings:
    prices = {"usd_per_million_input": 1.0, "usd_per_million_output": 2.0}
    named = {"kind": "llm", "base_url": server.url, "model": "tester", "retries": 0, **prices}
    return PlannerSettings.model_validate(named)


def knows(answers: dict[str, Any]) -> Any:
    """A model that knows for each sentence what to call, and declines the rest."""

    def part(handler: Any) -> None:
        from planner_model_server import calls

        said = handler.server.model.bodies[-1]["messages"][-1]["content"]
        name, arguments = answers.get(said, ("decline", {"why": "it is not to be done"}))
        calls(name, arguments)(handler)

    return part


def test_a_model_is_scored_by_what_it_proposes_itself(server: Any, registry: Registry) -> None:
    sentences = load("built")
    chosen = [sentences[at * len(sentences) // 12] for at in range(12)]
    answers: dict[str, Any] = {}
    for one in chosen:
        what = one.expect
        if "plan" in what and not any("ref" in str(step) or "${" in str(step) for step in what["plan"]):
            steps = [
                {"id": f"s{at}", "skill": name, "with": dict(arguments or {})}
                for at, step in enumerate(what["plan"])
                for name, arguments in step.items()
            ]
            answers[one.say] = ("propose_plan", {"steps": steps})
        elif "ask" in what:
            answers[one.say] = ("ask_person", {"question": "Which?", "field": str(what["ask"])})
    server.play(knows(answers))
    (figures,) = evaluate_planner("llm", registry, settings_of(server), ["built"], 12)
    facts = figures.document()
    assert facts["n"] == 12 and facts["tokens"] > 12 * 5_000 and facts["usd"] > 0
    refused = [one for one in figures.outcomes if one.kind == "refuse"]
    assert all(one.right for one in refused) and figures.wrong_changes == 0
    assert any(one.right for one in figures.outcomes if one.kind != "refuse")


def test_what_the_phrases_planner_replied_instead_is_not_the_models(server: Any, registry: Registry) -> None:
    settings = settings_of(server).model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    (figures,) = evaluate_planner("llm", registry, settings, ["built"], 6)
    told = [one for one in figures.outcomes if one.fell_back]
    assert len(told) >= 4 and not any(one.right for one in told)
    assert figures.fell_back == len(told) and any("no reply of its own" in line for line in figures.lines())


def test_a_model_that_always_acts_makes_no_wrong_change(server: Any, registry: Registry) -> None:
    traps = [one for name in SETS for one in load(name) if one.trap and not one.before]
    server.play(knows({one.say: ("propose_plan", DEPLOYS) for one in traps}))
    (figures,) = evaluate_planner("llm", registry, settings_of(server), ["fourth"], 40)
    assert len(figures.traps) > 8 and figures.wrong_changes == 0


def test_planners_stand_side_by_side_on_the_leaderboard(
    server: Any, registry: Registry, tmp_path: Path
) -> None:
    workspace = Workspace(load_settings(home=tmp_path / ".opswright"))
    server.play(knows({}))
    for kind in ("phrases", "llm"):
        for figures in evaluate_planner(kind, registry, settings_of(server), ["fourth"], 8):
            report = save_report(workspace, figures)
    lines = {line.name: line for line in standings(workspace, "planning-fourth")}
    assert set(lines) == {"planner:phrases", "planner:llm/tester"}
    assert lines["planner:phrases"].value > lines["planner:llm/tester"].value
    opened = workspace.artifacts.open(report)
    rows = [json.loads(line) for line in (opened.path / "sentences.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and opened.facts["planner"]["wrong_changes"] == 0
