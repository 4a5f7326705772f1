"""The demo's report: one HTML file that opens offline, and the summary a terminal shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.artifact_refs import parse_ref
from ...core.errors import OpswrightError
from ...core.files import write_atomically
from ...core.gate import Verdict
from ...record.ledger import Ledger
from ..show import console, table
from .plots import accuracy_svg, drift_svg, loss_svg

if TYPE_CHECKING:
    from ...core.workspace import Workspace
    from ..demo_story import DemoStory

_OF_V1 = " (v1's data)"
_TITLE = "A support router's first day"


def write_report(workspace: Workspace, story: DemoStory) -> Path:
    """Write the page into the workspace's reports and give its path."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("opswright.ui.reports"), autoescape=select_autoescape(), trim_blocks=True
    )
    environment.filters["share"] = lambda value: "" if value is None else f"{value:.1%}"
    page = environment.get_template("demo.html").render(
        title=_TITLE,
        lead=f"{len(story.steps)} steps, every one in the ledger and in MLflow.",
        story=story,
        verdicts={name: Verdict.model_validate(one) for name, one in story.checks.items() if one},
        cards=_cards(story),
        accuracy=accuracy_svg(story.metrics, _shown_baselines(story)),
        baseline_line=baseline_line(story),
        window=story.drift.get("alarm", {}).get("n", ""),
        drift=drift_svg(_p_values(workspace, story), _alpha(workspace, story)),
        drift_plots=_drift_plots(workspace, story),
        loss=loss_svg(_loss_curves(workspace, story)),
        history=_history(workspace),
    )
    path = workspace.reports / "demo.html"
    write_atomically(path, page.encode())
    return path


def show_story(story: DemoStory) -> None:
    """The summary on stdout: accuracy, verdicts, drift, serving, audit, and what to try next."""
    from rich.text import Text

    out = console()
    rows: list[list[Any]] = [
        [name, *(f"{m[part]:.1%}" for part in ("old", "new", "mixed")), story.verdicts.get(name)]
        for name, m in story.metrics.items()
    ]
    rows += [
        [name, *(f"{m[part]:.1%}" for part in ("old", "new", "mixed")), "baseline"]
        for name, m in _shown_baselines(story).items()
    ]
    out.print(table(["model", "old domains", "new domains", "all", "gate"], rows))
    if story.baselines and story.metrics:
        out.print(Text(baseline_line(story)))
    for name, drift in story.drift.items():
        state = "ALARM" if drift["alarm"] else "no alarm"
        out.print(Text(f"drift, {name} window: {state} (p {drift['p_value']:.4g})"))
    if serving := story.serving:
        out.print(
            Text(
                f"served by {serving.get('server')} {serving.get('server_version', '')}: "
                f"{serving.get('requests', 0):,} requests, {serving.get('failed', 0)} failed"
            )
        )
    if story.audit:
        state = "intact" if story.audit["ok"] else "NOT intact"
        out.print(Text(f"record: {story.audit['records']} entries, {state}"))
    out.print(Text(f"{'Done' if not story.faults else 'Ended with faults'} in {story.seconds:.0f} s."))
    if story.report:
        out.print(Text(f"Report: {story.report}", style="bold"))
    if not story.faults:
        out.print(Text(_NEXT))


_NEXT = """\
Try next:
  opswright chat                                 the console in a browser: chat, leaderboard, endpoints, ...
  opswright leaderboard --suite support           all models beside their baselines
  opswright status                               runs, and what is served
  opswright audit show 1                         one record of the ledger
  opswright mlflow                               the same in MLflow's pages
  opswright rollback --endpoint support --yes    take v2 back
  opswright stop                                 stop the servers"""


def baseline_line(story: DemoStory) -> str:
    """How the best simple baseline compares with v1, said plainly whoever wins."""
    own = {name: m for name, m in story.baselines.items() if name.endswith(_OF_V1)}
    if not own or "v1" not in story.metrics:
        return ""
    best = max(own, key=lambda name: own[name]["old"])
    model, simple = story.metrics["v1"]["old"], own[best]["old"]
    words = "beats" if simple > model else "stays below"
    return (
        f"{best.removesuffix(_OF_V1)} {words} v1 on the old domains: {simple:.1%} against {model:.1%}. "
        "On short texts with fixed labels a linear classifier is hard to beat; "
        "the loop around the model is what this shows."
    )


def _cards(story: DemoStory) -> list[dict[str, str]]:
    cards = [{"value": f"{story.seconds:.0f} s" if story.seconds else "", "label": "whole demo"}]
    for name, metrics in story.metrics.items():
        cards.append({"value": f"{metrics['mixed']:.1%}", "label": f"{name} on all domains"})
    serving = story.serving
    cards.append(
        {
            "value": f"{serving.get('failed', 0)}",
            "label": f"of {serving.get('requests', 0):,} requests failed",
        }
    )
    return [card for card in cards if card["value"]]


def _shown_baselines(story: DemoStory) -> dict[str, dict[str, float]]:
    """The baselines of v1's and v2's data; those of the refused model say nothing new."""
    return {name: m for name, m in story.baselines.items() if "v2_naive" not in name}


def _p_values(workspace: Workspace, story: DemoStory) -> dict[str, dict[str, float]]:
    return {
        name: {test: row["p_corrected"] for test, row in _drift_facts(workspace, drift)["tests"].items()}
        for name, drift in story.drift.items()
    }


def _alpha(workspace: Workspace, story: DemoStory) -> float:
    for drift in story.drift.values():
        facts = _drift_facts(workspace, drift)
        return float(facts.get("level", facts["alpha"]))
    return 0.01


def _drift_facts(workspace: Workspace, drift: dict[str, Any]) -> dict[str, Any]:
    return dict(workspace.artifacts.open(parse_ref(drift["report"])).facts)


def _drift_plots(workspace: Workspace, story: DemoStory) -> list[tuple[str, str]]:
    """Each plot of each drift report, inline."""
    import base64

    found = []
    for name, drift in story.drift.items():
        folder = workspace.artifacts.open(parse_ref(drift["report"])).path
        for path in sorted(folder.glob("*.png")):
            title = f"{name} window: {path.stem.replace('_', ' ')}"
            data = base64.b64encode(path.read_bytes()).decode()
            found.append((title, f'<img alt="{title}" src="data:image/png;base64,{data}">'))
    return found


def _loss_curves(workspace: Workspace, story: DemoStory) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    wanted = {row["ledger"]: row["id"].partition(".")[0] for row in story.steps if row["skill"] == "finetune"}
    for seq in sorted(wanted):
        record = Ledger.of(workspace).get(seq)
        if record is None or "checkpoint" not in record.artifacts:
            continue
        try:
            path = workspace.artifacts.open(parse_ref(record.artifacts["checkpoint"])).path / "training.jsonl"
        except OpswrightError:
            continue  # a run that failed half-way still gets its report
        if path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            curves[wanted[record.seq]] = [(row["step"], row["loss"]) for row in lines if "loss" in row]
    return curves


def _history(workspace: Workspace) -> list[dict[str, str]]:
    """Deployments, promotions and rollbacks as the ledger has them."""
    rows = []
    for record in Ledger.of(workspace).records():
        if record.effect == "serves" and record.phase in ("done", "rolled_back"):
            result = record.detail["result"]
            route = f" ({result['route']})" if result.get("route") else ""
            rows.append(
                {
                    "time": record.time[:19].replace("T", " "),
                    "event": f"{record.skill}{route} at {result.get('endpoint', '')}",
                    "release": str(result.get("release", ""))[:24],
                }
            )
    return rows
