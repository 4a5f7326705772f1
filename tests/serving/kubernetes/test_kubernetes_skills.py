"""The two skills: one writes what the other applies, for the same arguments; both refuse a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opswright.core.contract import Effect, StepContext
from opswright.core.errors import AskError, NeedsError
from opswright.core.machine import Machine
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings, StoreSettings
from opswright.core.workspace import Workspace
from opswright.serving.kubernetes.files import read_texts
from opswright.skills import load_registry
from opswright.skills.kubernetes_deploy import kubernetes_deploy
from opswright.skills.kubernetes_manifests import kubernetes_manifests
from opswright.ui.cli import run

SHAPE = {
    "gateway_image": "reg.example/gateway:1",
    "triton_image": "reg.example/triton:1",
    "scaling": "none",
}


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")


def step(layout: Any, lines: list[str] | None = None) -> StepContext:
    context = StepContext(layout.workspace, "run-1", "step", "key", layout.workspace.root)
    if lines is not None:
        context.events.log = lambda step, line: lines.append(line)  # type: ignore[method-assign]
    return context


def arguments(layout: Any, **other: Any) -> dict[str, Any]:
    release = layout.release("one")
    return {
        "bundle": release.bundle,
        "guardrails": release.guardrails,
        "endpoint": "shop",
        "namespace": "prod",
        "source": "pvc:artifacts",
        "shape": SHAPE,
        **other,
    }


def write(layout: Any, lines: list[str] | None = None, **other: Any) -> Any:
    request = kubernetes_manifests.parse(arguments(layout, **other))
    return kubernetes_manifests(request, step(layout, lines))


def test_files_and_artifact_hold_the_same_and_the_second_time_nothing_differs(layout: Any) -> None:
    done = write(layout)
    texts = read_texts(Path(done.folder))
    assert tuple(texts) == done.files and done.release_digest == layout.release("one").digest
    assert read_texts(layout.workspace.artifacts.open(done.manifests).path) == texts
    again = write(layout)
    assert again.changed_lines == 0 and again.manifests == done.manifests


def test_what_differs_from_what_was_written_before_is_shown(layout: Any) -> None:
    write(layout)
    lines: list[str] = []
    write(layout, lines, shape={**SHAPE, "gateway": {"replicas": 3}})
    assert "+  replicas: 3" in lines and "-  replicas: 2" in lines


def test_files_that_a_release_no_longer_needs_go(layout: Any) -> None:
    folder = Path(write(layout).folder)
    assert any("monitor" in name for name in read_texts(folder))
    write(layout, shape={**SHAPE, "service_monitor": False})
    assert not any("monitor" in name for name in read_texts(folder))


@pytest.mark.parametrize(
    "secret",
    ["ops_0123456789ab_" + "a" * 43, "hf_" + "a" * 34, "AKIA" + "A" * 16, "http://user:word@host:9090"],
)
def test_a_secret_as_an_argument_is_refused_and_not_repeated(layout: Any, secret: str) -> None:
    plain = arguments(layout)
    for asked in (
        {"shape": {"prometheus": secret, **SHAPE}, **{k: v for k, v in plain.items() if k != "shape"}},
        {"source": secret, **{k: v for k, v in plain.items() if k != "source"}},
        {"namespace": secret, **{k: v for k, v in plain.items() if k != "namespace"}},
    ):
        with pytest.raises(AskError, match="key or a password") as refused:
            kubernetes_manifests.parse(asked)
        assert secret[:12] not in str(refused.value)
    assert not (layout.workspace.root / "kubernetes").exists()


def test_a_bundle_for_cpus_needs_an_image_that_runs_it(layout: Any) -> None:
    with pytest.raises(AskError, match=r"shape\.triton_image is missing"):
        write(layout, shape={"gateway_image": "reg.example/gateway:1"})


def test_writing_is_not_serving_and_applying_is(layout: Any) -> None:
    registry = load_registry()
    assert registry.get("kubernetes-manifests").effect is Effect.WRITES
    assert registry.get("kubernetes-deploy").effect is Effect.SERVES
    request = kubernetes_deploy.parse(arguments(layout))
    assert set(kubernetes_deploy.served(request, layout.workspace)) == {request.bundle, request.guardrails}


def test_preflight_says_what_was_never_tried(layout: Any) -> None:
    request = kubernetes_deploy.parse(arguments(layout))
    assert kubernetes_deploy.preflight is not None
    found = list(kubernetes_deploy.preflight(request, Machine.here(layout.workspace.root), layout.workspace))
    said = " ".join(finding.message for finding in found)
    assert "never on a real cluster" in said and "reg.example/gateway:1" in said
    assert not any(finding.level == "stop" for finding in found)


def said(layout: Any, workspace: Any = None, **shape: Any) -> str:
    """What pre-flight says of a shape."""
    request = kubernetes_deploy.parse(arguments(layout, shape={**SHAPE, **shape}))
    assert kubernetes_deploy.preflight is not None
    home = workspace or layout.workspace
    found = list(kubernetes_deploy.preflight(request, Machine.here(home.root), home))
    return " ".join(f"{finding.level}: {finding.message}" for finding in found)


def test_preflight_says_what_pods_do_not_share(layout: Any) -> None:
    alone = said(layout, gateway={"replicas": 3})
    assert "warn: limits and budgets of keys count in each gateway pod: with 3 pods" in alone
    assert "warn: the traffic log and the feedback of a pod go with it" in alone
    assert "limits and budgets" not in said(layout, gateway={"replicas": 1})
    shared = said(layout, store={"url": "redis://redis"}, traffic={"ship_to": "s3://logs"})
    assert "limits and budgets" not in shared and "go with it" not in shared
    assert "note: `opswright keys` here gives out keys of this workspace" in shared


def test_preflight_says_what_the_store_keeps_on_disk(
    layout: Any, redis_server: Callable[..., Any], tmp_path: Path
) -> None:
    serving = ServingSettings(store=StoreSettings(url=redis_server().url, timeout_s=20, prefix="here"))
    workspace = Workspace(load_settings(home=layout.workspace.root, serving=serving))
    shared = said(layout, workspace, store={"url": "redis://redis"})
    assert "warn: the shared store keeps nothing on disk: its restart forgets every key" in shared
    assert "warn: keys are given out here under here, and looked for by pods under opswright" in shared


@pytest.fixture
def kubeconfig(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in as the context `prod` of a kubeconfig."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "prod",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return "prod"


def test_the_skill_applies_what_was_written_and_names_the_pods(
    layout: Any, cluster: Any, kubeconfig: str
) -> None:
    release = layout.release("one")
    cluster.endpoint_of[release.digest] = ("shop", release.id)
    request = kubernetes_deploy.parse(arguments(layout, cluster=kubeconfig))
    done = kubernetes_deploy(request, step(layout))
    assert done.release_digest == release.digest and len(done.gateway_pods) == 2
    assert done.address == "http://ops-shop-gateway.prod.svc"
    written = len(write(layout).files)
    assert len([call for call, _ in cluster.calls if call == "apply"]) == written


def test_a_context_that_is_not_there_is_named(layout: Any, kubeconfig: str) -> None:
    request = kubernetes_deploy.parse(arguments(layout, cluster="staging"))
    with pytest.raises(NeedsError, match="staging"):
        kubernetes_deploy(request, step(layout))


def test_a_person_writes_manifests_by_the_word_deploy(
    layout: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(layout)
    command = ["--home", str(layout.workspace.root), "deploy", "--to", "kubernetes", "--yes", "--json"]
    for name, value in given.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    assert run(command) == 0
    assert list((layout.workspace.root / "kubernetes" / "shop").glob("*-triton-deployment.yaml"))
    capsys.readouterr()


def test_applying_what_no_gate_judged_is_refused(
    layout: Any, cluster: Any, kubeconfig: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--home", str(layout.workspace.root), "deploy", "--to", "kubernetes", "--dry-run", "false"]
    for name, value in arguments(layout).items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    assert run([*command, "--yes"]) != 0
    assert "no gate judged" in capsys.readouterr().out
    assert cluster.calls == [] and cluster.tried == 0
