"""Project skills: a plan with inputs under a name, run only as it was when somebody added it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.agents.agent import Agent
from opswright.agents.planner import Ask
from opswright.agents.project_skills import ProjectSkills
from opswright.core.errors import AskError, IntegrityError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace

AgentFactory = Callable[..., Agent]

SKILL = """\
---
name: nightly
description: Collect the day's lines and train on them. Use at night.
metadata:
  opswright-plan: plan.yaml
---
# nightly
"""
PLAN = """\
inputs:
  source: {type: path, description: The day's lines.}
  rounds: {type: integer, default: 3}
goal: Train on ${inputs.source} for ${inputs.rounds} rounds
steps:
  data: {skill: collect, with: {source: "${inputs.source}"}}
  model: {skill: train, with: {data: "${data.dataset}", steps: "${inputs.rounds}"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "skills" / "nightly"
    made.mkdir(parents=True)
    (made / "SKILL.md").write_text(SKILL)
    (made / "plan.yaml").write_text(PLAN)
    Path("lines.txt").write_text("one\ntwo\n")
    return made


def skills_of(agent: Agent, **settings: Any) -> ProjectSkills:
    """The skills of the agent's workspace, under other settings."""
    found = load_settings(home=agent.workspace.root, project_skills=settings)
    return ProjectSkills(Workspace(found), agent.registry)


def test_a_skill_that_was_added_is_a_command_whose_plan_has_typed_inputs(
    agent: AgentFactory, folder: Path
) -> None:
    ours = agent()
    added = skills_of(ours).add(folder)
    assert added.schema()["required"] == ["source"]
    outcome = ours.start(Ask("slash", "/nightly source=lines.txt rounds=5"))
    assert outcome.status == "waiting" and outcome.plan is not None
    assert outcome.plan.goal == "Train on lines.txt for 5 rounds"
    assert outcome.plan.steps[1].arguments["steps"] == 5
    proposed = next(iter(ours._record(outcome.run).state.records))
    assert f"sha256 {added.digest}" in proposed.detail["source"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("/nightly", "input 'source' (path) is missing"),
        ("/nightly source=lines.txt rounds=many", "must be integer"),
        ("/nightly source=lines.txt round=2", "Did you mean 'rounds'?"),
        ("/nightly source=${data.dataset}", "may not hold"),
        ("/nightly source=lines.txt source=x", "given twice"),
        ("/nightly source=nowhere.txt", "nowhere.txt"),
    ],
)
def test_wrong_inputs_are_named(agent: AgentFactory, folder: Path, typed: str, words: str) -> None:
    ours = agent()
    skills_of(ours).add(folder)
    with pytest.raises(AskError) as refused:
        ours.start(Ask("slash", typed))
    assert words in str(refused.value)


@pytest.mark.parametrize("file", ["SKILL.md", "plan.yaml", "extra.txt"])
def test_a_byte_that_changes_refuses_the_skill_with_exit_code_7(
    agent: AgentFactory, folder: Path, file: str
) -> None:
    ours = agent()
    skills = skills_of(ours)
    skills.add(folder)
    with (folder / file).open("a") as out:
        out.write("\n")
    with pytest.raises(IntegrityError, match="changed since it was added") as refused:
        ours.start(Ask("slash", "/nightly source=lines.txt"))
    assert refused.value.exit_code == 7 and list(skills) == []
    skills.add(folder)
    assert ours.start(Ask("slash", "/nightly source=lines.txt")).status == "waiting"


def test_a_folder_that_others_may_write_to_gives_no_skill(agent: AgentFactory, folder: Path) -> None:
    ours = agent()
    skills = skills_of(ours)
    skills.add(folder)
    for path, mode in ((folder, 0o777), (folder / "plan.yaml", 0o666), (folder.parent, 0o777)):
        before = path.stat().st_mode
        os.chmod(path, mode)
        with pytest.raises(IntegrityError, match="changed by others"):
            skills.load("nightly")
        os.chmod(path, before)
    assert skills.load("nightly").name == "nightly"


def test_a_folder_that_nobody_added_is_no_skill(agent: AgentFactory, folder: Path) -> None:
    with pytest.raises(AskError, match="unknown skill"):
        agent().start(Ask("slash", "/nightly source=lines.txt"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: nightly", "name: other", "must be equal"),
        ("name: nightly", "name: nightly\nwhen_to_use: always", "unknown key 'when_to_use'"),
        ("plan.yaml", "../../plan.yaml", "outside its folder"),
        ("  opswright-plan: plan.yaml", "  owner: ada", "names no plan"),
        ("---\nname", "name", "must begin with YAML"),
    ],
)
def test_a_skill_file_that_is_wrong_is_not_added(
    agent: AgentFactory, folder: Path, old: str, new: str, words: str
) -> None:
    (folder / "SKILL.md").write_text(SKILL.replace(old, new, 1))
    with pytest.raises(AskError) as refused:
        skills_of(agent()).add(folder)
    assert words in str(refused.value)


def test_a_skill_may_not_take_the_name_of_a_built_in_one(agent: AgentFactory, folder: Path) -> None:
    other = folder.with_name("collect")
    shutil.copytree(folder, other)
    (other / "SKILL.md").write_text(SKILL.replace("name: nightly", "name: collect"))
    with pytest.raises(AskError, match="built-in"):
        skills_of(agent()).add(other)


@pytest.mark.parametrize("name", ["approve", "deny", "stop", "audit"])
def test_a_skill_may_not_take_the_name_of_a_chats_command(
    agent: AgentFactory, folder: Path, name: str
) -> None:
    (folder / "SKILL.md").write_text(SKILL.replace("name: nightly", f"name: {name}"))
    other = folder.with_name(name)
    folder.rename(other)
    with pytest.raises(AskError, match="built-in skill or command"):
        skills_of(agent()).add(other)


def test_what_is_no_file_is_no_part_of_a_skill(agent: AgentFactory, folder: Path) -> None:
    skills = skills_of(agent())
    skills.add(folder)
    os.mkfifo(folder / "pipe")
    with pytest.raises(IntegrityError, match="is no file and no folder"):
        skills.load("nightly")


@pytest.mark.parametrize("plan", ["", "[1, 2]", "text"])
def test_a_skill_whose_plan_is_none_is_not_added(agent: AgentFactory, folder: Path, plan: str) -> None:
    (folder / "plan.yaml").write_text(plan)
    with pytest.raises(AskError, match="is no plan"):
        skills_of(agent()).add(folder)


@pytest.mark.parametrize(
    "step", ['{skill: "${inputs.what}"}', "{skill: trian}", "{with: {}}", "train", "[1]"]
)
def test_a_step_whose_skill_is_open_passes_for_nothing_that_only_reads(
    agent: AgentFactory, folder: Path, step: str
) -> None:
    inputs = "inputs:\n  what: {type: text, default: train}\n"
    (folder / "plan.yaml").write_text(f"{inputs}goal: Do it\nsteps:\n  it: {step}\n")
    with pytest.raises(AskError, match="step 'it' names no skill"):
        skills_of(agent()).add(folder)


def test_a_skill_whose_files_are_links_to_elsewhere_is_none(agent: AgentFactory, folder: Path) -> None:
    elsewhere = folder.parent / "plan.yaml"
    (folder / "plan.yaml").rename(elsewhere)
    (folder / "plan.yaml").symlink_to(elsewhere)
    with pytest.raises(AskError, match="link"):
        skills_of(agent()).add(folder)


def keys(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key on files."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def sign(folder: Path, private: Path, leaves_out: tuple[Path, ...] = ()) -> Path:
    from model_signing import hashing, signing

    signature = folder.with_name(f"{folder.name}.sig")
    hashed = hashing.Config().set_ignored_paths(paths=leaves_out)  # type: ignore[no-untyped-call]
    config = signing.Config()  # type: ignore[no-untyped-call]
    signer = config.use_elliptic_key_signer(private_key=private).set_hashing_config(hashed)
    signer.sign(folder, signature)
    return signature


def test_a_signed_skill_is_verified_whenever_it_is_loaded(
    agent: AgentFactory, folder: Path, tmp_path: Path
) -> None:
    ours = agent()
    private, public = keys(tmp_path, "mine")
    _, other = keys(tmp_path, "other")
    signature = sign(folder, private)
    skills = skills_of(ours, public_key=public, require_signature=True)
    assert skills.add(folder).signed_by
    with pytest.raises(IntegrityError, match="no key"):
        skills_of(ours).load("nightly")
    with pytest.raises(IntegrityError, match="is not one of nightly"):
        skills_of(ours, public_key=other).load("nightly")
    plan = (folder / "plan.yaml").read_bytes()
    (folder / "plan.yaml").write_bytes(plan + b"\n")
    with pytest.raises(IntegrityError, match="signature"):
        skills.add(folder)  # adding it again does not mend a signature
    (folder / "plan.yaml").write_bytes(plan)
    (folder / ".gitattributes").write_text("signatures leave this out\n")
    with pytest.raises(IntegrityError, match="git files"):
        skills.add(folder)
    (folder / ".gitattributes").unlink()
    assert skills.load("nightly").name == "nightly"
    signature.unlink()
    with pytest.raises(IntegrityError, match="is not signed"):
        skills.load("nightly")


def test_a_file_that_the_signature_leaves_out_makes_no_signed_skill(
    agent: AgentFactory, folder: Path, tmp_path: Path
) -> None:
    private, public = keys(tmp_path, "mine")
    skills = skills_of(agent(), public_key=public, require_signature=True)
    sign(folder, private, leaves_out=(folder / "plan.yaml",))
    with pytest.raises(IntegrityError, match="left it out"):
        skills.add(folder)
    sign(folder, private)
    assert skills.add(folder).signed_by
    (folder / "more.txt").write_text("nobody signed this")
    with pytest.raises(IntegrityError, match="signature"):
        skills.add(folder)
