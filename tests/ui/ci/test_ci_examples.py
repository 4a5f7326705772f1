"""examples/ci: pipelines valid by their schemas, their scripts run in a scratch repository."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

import opswright
from opswright.core.artifact_refs import CheckpointRef, EvalReportRef
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.evals.report import facts_of
from opswright.evals.runner import EvalResult, SampleResult, to_lines
from opswright.record.ledger import Ledger

EXAMPLE = Path(opswright.__file__).parent / "examples" / "ci"
ISSUER = "https://token.actions.githubusercontent.com"
KEY = rsa.generate_private_key(65537, 2048)
PLAN = """\
goal: Keep the training set clean
budget: {usd: 0}
steps:
  data: {skill: curate, with: {source: tickets.csv}}
"""


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", "github/opswright.yml"),
        ("vendor.gitlab-ci", "gitlab/gitlab-ci.yml"),
    ],
)
def test_a_pipeline_is_valid_by_its_published_schema(schema: str, file: str, tmp_path: Path) -> None:
    def check(path: Path) -> int:
        words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
        return subprocess.run(words, capture_output=True, timeout=60).returncode

    assert check(EXAMPLE / file) == 0
    broken = tmp_path / "broken.yml"
    text = (EXAMPLE / file).read_text()
    broken.write_text(
        text.replace("    runs-on: [", "    run-son: [").replace("    when: always", "    when: 7")
    )
    assert check(broken) == 1


def test_pipelines_call_the_scripts_and_give_the_token_to_the_merge_alone() -> None:
    github = yaml.safe_load((EXAMPLE / "github" / "opswright.yml").read_text())
    gitlab = yaml.safe_load((EXAMPLE / "gitlab" / "gitlab-ci.yml").read_text())
    for job in ("propose", "apply"):
        lines = [step.get("run", "") for step in github["jobs"][job]["steps"]] + gitlab[job]["script"]
        assert lines.count(f"sh ci/{job}.sh") == 2 and (EXAMPLE / "scripts" / f"{job}.sh").is_file()
    assert "id-token" not in github["jobs"]["propose"]["permissions"]
    assert "id_tokens" not in gitlab["propose"]


class Repository:
    """A scratch repository that the example was copied into, and a runner with a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.home = folder / "workspace"
        (self.folder / "ci").mkdir(parents=True)
        for script in (EXAMPLE / "scripts").iterdir():
            (self.folder / "ci" / script.name).write_bytes(script.read_bytes())
        policy = (EXAMPLE / "policy.yaml").read_text()
        address = f'{{url: "{ISSUER}/.well-known/jwks"}}'
        assert address in policy
        self.write("policy.yaml", policy.replace(address, "{file: keys.json}"))
        public = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        self.write("keys.json", json.dumps({"keys": [{**public, "kid": "k1"}]}))
        self.write("plan.yaml", PLAN)
        self.write("tickets.csv", rows("where is my order"))
        self.write(".gitignore", "ci-out/\n")
        program = folder / "bin" / "opswright"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nfrom opswright.ui.cli import main\nmain()\n")
        program.chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "OPSWRIGHT_HOME": str(self.home),
            "OPSWRIGHT_POLICY": "policy.yaml",
            "OPSWRIGHT_MLFLOW__MIRROR": "off",
            "BASE": "main",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self.git("init", "-q", "-b", "main")
        self.commit("a project")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def git(self, *words: str) -> str:
        named = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(
            ["git", *named, *words], cwd=self.folder, capture_output=True, check=True, env=self.env
        )
        return done.stdout.decode()

    def commit(self, why: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", why)

    def run(self, script: str, **env: str) -> tuple[int, str]:
        """A job in a fresh checkout's state: exit code, and everything it printed."""
        done = subprocess.run(
            ["sh", f"ci/{script}.sh"],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=200,
        )
        return done.returncode, done.stdout + done.stderr

    def out(self, name: str) -> str:
        return (self.folder / "ci-out" / name).read_text()

    @property
    def workspace(self) -> Workspace:
        return Workspace(load_settings(home=self.home))

    def measure(self, letter: str, right: int) -> None:
        items = tuple(
            SampleResult(f"i{n:03d}", f"text {n}", "yes", "yes", {"exact_match": float(n < right)}, ())
            for n in range(100)
        )
        measured = EvalResult(str(CheckpointRef.of(letter * 64)), "tickets", "d" * 64, (), items)
        store = self.workspace.artifacts
        with store.staging() as folder:
            (folder / "items.jsonl").write_bytes(to_lines(items))
            store.save(EvalReportRef, folder, facts_of(measured, 100, {}))


def rows(text: str) -> str:
    """A file of rows that differ enough to be kept."""
    words = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("l", "n", "rt", "st")]
    chosen = random.Random(text)
    lines = [f"{text} {' '.join(chosen.sample(words, 6))}" for _ in range(80)]
    return "text,label\n" + "".join(f"{line},{('order', 'refund')[n % 2]}\n" for n, line in enumerate(lines))


def token(**changes: Any) -> dict[str, str]:
    """The environment of a job whose token it is."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": "opswright",
        "sub": "repo:acme/models:environment:production",
        "iat": now,
        "exp": now + 300,
        "event_name": "push",
        "repository": "acme/models",
        "ref": "refs/heads/main",
        "environment": "production",
        **changes,
    }
    encoded = jwt.encode(said, KEY, "RS256", headers={"kid": "k1"})
    return {"OPSWRIGHT_IDENTITY__TOKEN": "secret:env:JOBS_TOKEN", "JOBS_TOKEN": encoded}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def request(repository: Repository) -> str:
    """A reviewed request, ready to be merged: the id of its plan."""
    repository.git("checkout", "-q", "-b", "cleaner")
    repository.write("tickets.csv", rows("where is my parcel"))
    repository.commit("other rows")
    assert repository.run("propose")[0] == 5
    plan_id = repository.out("id").strip()
    assert f"echo {plan_id} > plan.id" in repository.out("comment.md")
    repository.write("plan.id", f"{plan_id}\n")
    repository.commit("the plan to approve")
    return plan_id


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_from_a_request_to_the_merge_exactly_the_reviewed_plan_is_carried_out(repository: Repository) -> None:
    repository.measure("a", 60)
    board = json.dumps(base_board(repository))
    repository.write("board.json", board)
    repository.commit("the board")
    repository.measure("b", 85)
    plan_id = request(repository)
    code, said = repository.run("propose")
    assert code == 0, said
    comment = repository.out("comment.md")
    assert plan_id in comment and "| data | curate |" in comment
    assert "## Leaderboard" in comment and "better" in comment
    assert ElementTree.fromstring(repository.out("junit.xml").encode()).attrib["failures"] == "0"
    assert json.loads(repository.out("opswright.sarif"))["version"] == "2.1.0"
    assert not list(Ledger.of(repository.workspace).records())  # a request carries nothing out
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "cleaner")
    code, said = repository.run("apply")
    assert code == 5, said  # the runner's own user may propose, and no more
    for _ in range(2):  # started again, it is done already
        code, said = repository.run("apply", RUN="merge-1", **token())
        assert code == 0, said
        assert json.loads(repository.out("outcome.json"))["plan"] == plan_id
    records = [one for one in Ledger.of(repository.workspace).records() if one.run == "merge-1"]
    assert [one.step for one in records if one.phase == "done"] == ["data", None]
    assert {one.actor for one in records} == {"github-main"}
    models = [row["model"][:13] for row in json.loads(repository.out("board.json"))]
    assert models == ["checkpoint:bb", "checkpoint:aa"]
    assert "JOBS_TOKEN" not in said and "eyJ" not in said


def base_board(repository: Repository) -> Any:
    words = ["opswright", "leaderboard", "--json"]
    done = subprocess.run(words, cwd=repository.folder, env=repository.env, capture_output=True, timeout=100)
    return json.loads(done.stdout)


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_what_was_not_reviewed_is_not_carried_out(repository: Repository) -> None:
    request(repository)
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "cleaner")
    code, _ = repository.run("apply", **token(repository="mallory/models"))
    assert code == 8
    code, _ = repository.run("apply", **token(event_name="pull_request_target"))
    assert code == 8
    repository.write("tickets.csv", rows("something else"))
    repository.commit("rows that nobody reviewed")
    code, said = repository.run("apply", RUN="merge-2", **token())
    assert code == 5, said
    records = [one for one in Ledger.of(repository.workspace).records() if one.run == "merge-2"]
    assert [str(one.phase) for one in records] == ["proposed"]
    errors = ElementTree.fromstring(repository.out("junit.xml").encode()).attrib["errors"]
    assert int(errors) > 0  # never green
    repository.write("plan.yaml", PLAN.replace("curate", "curat"))
    assert repository.run("propose")[0] == 2
