"""The loop on requests that are answered in JSON: shipped, watched, retrained from the alarm, promoted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

WHO = [
    "anna",
    "ben",
    "carla",
    "dan",
    "eva",
    "finn",
    "greta",
    "hugo",
    "ida",
    "jan",
    "kira",
    "leo",
    "mia",
    "nils",
    "ola",
    "pia",
    "rosa",
    "sven",
    "tina",
    "uwe",
]
WHEN = ("before friday", "by monday", "next week", "this evening", "in may", "for the party", "on the ninth")
GOODS = ["mugs", "plates", "lamps", "chairs", "rugs", "clocks", "bowls", "vases"]
TEAMS = {"order": "sales", "return": "stock", "repair": "workshop", "wrap": "gifts"}
LATER = (
    ("payment {n} of {who} was charged twice", ("return", "sales")),
    ("the invoice {n} for {who} has a wrong date", ("order", "stock")),
    ("where is parcel {n}, asks {who}", ("wrap", "workshop")),
)
Row = tuple[str, dict[str, str]]


def known(draw: random.Random) -> Row:
    """A request of the kind that the first model learns, and the call it asks for."""
    do = draw.choice(sorted(TEAMS))
    n, goods = draw.randint(2, 80), draw.choice(GOODS)
    said = f"this is {draw.choice(WHO)}: please {do} {n} {goods} {draw.choice(WHEN)}"
    return said, {"do": do, "team": TEAMS[do]}


def later(draw: random.Random) -> Row:
    """A request of the kind that users bring later."""
    said, (do, team) = draw.choice(LATER)
    return said.format(n=draw.randint(1000, 9999), who=draw.choice(WHO)), {"do": do, "team": team}


def write(path: Path, kind: Callable[[random.Random], Row], n: int, seed: int) -> None:
    draw, rows = random.Random(seed), dict[str, str]()
    while len(rows) < n:
        said, call = kind(draw)
        rows[said] = json.dumps(call)
    lines = (json.dumps({"request": said, "call": call}) for said, call in rows.items())
    path.write_text("".join(f"{line}\n" for line in lines))


class Project:
    """A folder in which a person works by the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        settings = {"OPSWRIGHT_SERVING__SERVER": "in-process", "OPSWRIGHT_SERVING__GATEWAY_PORT": "0"}
        return subprocess.run(
            [sys.executable, "-m", "opswright.ui.cli", *argv],
            capture_output=True,
            text=True,
            env={**os.environ, **settings},
            cwd=self.folder,
            timeout=1700,
            check=False,
        )

    def do(self, *argv: str) -> dict[str, Any]:
        """A command that must succeed; its JSON document."""
        ended = self.run(*argv, "--yes", "--json")
        assert ended.returncode == 0, f"{argv}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    def ask(self, url: str, texts: list[str]) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            for number, text in enumerate(texts):
                said = [{"role": "user", "content": text}]
                body = {"model": "shop", "user": f"u{number}", "messages": said, "max_tokens": 40}
                assert client.post(f"{url}/v1/chat/completions", json=body).status_code == 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("shop"))
    write(project.folder / "orders.jsonl", known, 600, 1)
    write(project.folder / "later.jsonl", later, 320, 2)
    yield project
    project.run("stop")
    shutil.rmtree(project.folder, ignore_errors=True)


def test_from_an_alarm_to_a_promoted_model_that_knows_what_is_new(shop: Project) -> None:
    shop.do("init", "orders.jsonl", "--name", "shop", "--column", "user=request", "--column", "target=call")
    plan = shop.folder / "plans" / "ship.yaml"
    steps = yaml.safe_load(plan.read_text())
    steps["steps"]["model"]["with"]["epochs"] = 12  # as many as it takes to learn this
    plan.write_text(yaml.safe_dump(steps, sort_keys=False))
    shipped = shop.do("run", "plans/ship.yaml")
    live = shipped["results"]["live"]
    assert shipped["verdict"] == "GO" and live["route"] == "stable"

    draw = random.Random(9)
    asked = [known(draw)[0] for _ in range(80)] + [later(draw)[0] for _ in range(40)]
    draw.shuffle(asked)
    shop.ask(live["url"], asked)
    alarm = shop.do("drift", "endpoint=shop", "window=120")["results"]["drift"]
    assert alarm["alarm"] and "held-out ones" in alarm["note"]

    retrain = shop.do("retrain", f"alarm={alarm['report']}", "new_data=later.jsonl")["results"]["retrain"]
    assert retrain["new_samples"] >= 90
    proposal = yaml.safe_load(Path(retrain["plan_file"]).read_text())
    assert proposal["gates"]["release"]["metric"] == "json_exact"
    assert proposal["steps"]["engine"]["with"]["target"] == "onnx-fp32"

    done = shop.do("run", retrain["plan_file"])
    results = done["results"]
    assert done["verdict"] == "GO" and results["promote"]["promoted"]
    assert results["stable"]["value"] < 0.6 < 0.9 < results["eval"]["value"]
    assert results["engine"]["metric"] == "json_exact"
    rows = {row["name"]: row["decision"] for row in results["promote"]["verdict"]["rows"]}
    assert rows["golden sample"] == "GO"
    body = {"model": "shop", "messages": [{"role": "user", "content": later(draw)[0]}], "max_tokens": 40}
    reply = httpx.post(f"{results['live']['url']}/v1/chat/completions", json=body, trust_env=False)
    assert reply.headers["x-opswright-release"] == results["promote"]["release"] != live["release"]
    assert shop.run("audit", "verify").returncode == 0
