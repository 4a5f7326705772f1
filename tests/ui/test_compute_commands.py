"""`opswright compute manifest`: what a job is sent as, or every fault of it, with no cluster asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from opswright.ui.cli import run

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: x}}]
contexts: [{name: lab, context: {cluster: c, user: u, namespace: lm}}]
"""
SETTINGS = """
[compute.kubernetes]
kubeconfig = "kubeconfig"
image = "registry.lan/opswright:0.1"
claim = "opswright"
shared_folder = "."
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "opswright.toml").write_text(SETTINGS)
    return tmp_path


def test_it_prints_yaml_for_people_and_one_document_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compute", "manifest", "--gpus", "2"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert run(["compute", "manifest", "--gpus", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    assert (shown["kind"], shown["metadata"]["namespace"]) == ("Job", "lm")
    container = shown["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}


def test_it_names_every_fault_and_prints_no_manifest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = 'queue = "team a"\ntolerations = [{effect = "NoSchedul"}]\n'
    (project / "opswright.toml").write_text(SETTINGS + wrong)
    assert run(["compute", "manifest"]) == 2
    said = capsys.readouterr()
    assert "'team a' is no value of a label" in said.err and "'NoSchedul' is none of" in said.err
    assert said.out == ""


def test_what_is_not_set_is_named_with_its_variable(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "opswright.toml").write_text(SETTINGS.replace("image", "#image"))
    assert run(["compute", "manifest"]) == 1
    assert "OPSWRIGHT_COMPUTE__KUBERNETES__IMAGE" in capsys.readouterr().err
