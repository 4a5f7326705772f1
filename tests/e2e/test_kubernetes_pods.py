"""What pods of a release would run, run here: init containers, a real Triton, its probes, a real gateway.

Commands, arguments, variables, files and probes are the manifests'; a pod's folders are folders of the
test. What only a cluster does is not shown: networks, scheduling, images.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.settings import load_settings
from opswright.core.settings.serving import StoreSettings
from opswright.core.workspace import Workspace
from opswright.serving.gateway.traffic_log import read
from opswright.serving.keys.redis_keys import SharedKeyStore
from opswright.serving.keys.redis_usage import RedisUsage
from opswright.serving.keys.store import KeyStore, Limits
from opswright.serving.kubernetes.manifests import render
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.kubernetes.shape import ClusterShape
from opswright.serving.shipped_traffic import pull
from opswright.serving.traffic.samples import labelled_requests
from opswright.serving.triton.environment import Install, PlatformFacts, locate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SECRET = "a-secret-of-the-test"
PATIENCE_S = 240.0
_POLL_S = 0.1


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(_POLL_S)


@dataclass
class PodHere:
    """One pod of a manifest as processes of this machine; its mounts are folders below `root`."""

    root: Path
    spec: dict[str, Any]
    config_maps: dict[str, dict[str, str]]
    replaced: dict[str, str] = field(default_factory=dict)  # in texts: addresses, ports, programs
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """A text of the manifest with this machine's folders and addresses."""
        for mount in sorted({m["mountPath"] for c in self.containers for m in c["volumeMounts"]}, key=len):
            if text.startswith(mount) or f"={mount}" in text:
                text = text.replace(mount, str(self.folder(mount)), 1)
                break
        for before, after in self.replaced.items():
            text = text.replace(before, after)
        return text

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec["initContainers"], *self.spec["containers"]]

    def folder(self, mount: str) -> Path:
        return self.root / mount.strip("/").replace("/", "-")

    def lay(self) -> None:
        """The volumes: empty ones, and what ConfigMaps hold."""
        volumes = {one["name"]: one for one in self.spec["volumes"]}
        for container in self.containers:
            for mount in container["volumeMounts"]:
                folder = self.folder(mount["mountPath"])
                folder.mkdir(parents=True, exist_ok=True)
                named = volumes[mount["name"]].get("configMap", {}).get("name")
                for name, text in self.config_maps.get(named, {}).items():
                    (folder / name).write_text(text)

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.config_maps[source["configMapRef"]["name"]]
            else:  # a Secret with what S3 asks for
                found |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        for one in container["env"]:
            found[one["name"]] = one.get("value", SECRET)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {**{name: self.here(value) for name, value in found.items()}, **kept}

    def fetch(self) -> subprocess.CompletedProcess[str]:
        """Run the init container to its end."""
        (init,) = self.spec["initContainers"]
        command = [sys.executable, *map(self.here, (*init["command"][1:], *init["args"]))]
        return subprocess.run(
            command, env=self.environment(init), capture_output=True, text=True, timeout=PATIENCE_S
        )

    def start(self, program: list[str], **more: str) -> subprocess.Popen[bytes]:
        """Start the container with this machine's program, and the manifest's arguments and variables."""
        (main,) = self.spec["containers"]
        environment = {**self.environment(main), **more}
        given = [*main["command"][1 if len(program) == 1 else len(main["command"]) :], *main["args"]]
        given = [self.here(one.replace("$(TRITON_SECRET)", SECRET)) for one in given]
        with (self.root / "container.log").open("ab") as log:
            process = subprocess.Popen([*program, *given], env=environment, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def probe(self, name: str) -> subprocess.CompletedProcess[str]:
        """Ask as Kubernetes does, by the container's own command."""
        (main,) = self.spec["containers"]
        command = [sys.executable, *map(self.here, main[name]["exec"]["command"][1:])]
        environment = {**self.environment(main), **self.probe_port}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)

    @property
    def probe_port(self) -> dict[str, str]:
        port = next((v.split("=")[1] for k, v in self.replaced.items() if k == "--http-port=8000"), "8000")
        return {"OPSWRIGHT_TRITON_PORT": port}

    def end(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE_S)
        self.started.clear()


@dataclass
class Site:
    """A workspace whose artifacts lie where a cluster would find them, and pods of its releases."""

    root: Path
    workspace: Workspace
    install: Install
    free_port: Callable[[], int]
    port: int = 0
    pods: list[PodHere] = field(default_factory=list)

    def release(self, engine: Path, mark: str) -> ClusterRelease:
        with self.workspace.artifacts.staging() as stage:
            shutil.copytree(engine, stage / "engine")
            (stage / "mark").write_text(mark)
            bundle = self.workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})
        return ClusterRelease.of(self.workspace, "shop", "prod", bundle, None, "pvc:files/artifacts")

    def pod(self, release: ClusterRelease, part: str, name: str, **shared: Any) -> PodHere:
        images = {"gateway_image": "reg.example/gateway:1", "triton_image": "reg.example/triton:1"}
        shape = ClusterShape.model_validate({**images, **shared})
        objects = render(release, shape).values()
        config_maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
        deployments = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Deployment"}
        found = deployments[release.name(part, of_release=part == "triton")]
        pod = PodHere(self.root / name, found["spec"]["template"]["spec"], config_maps)
        pod.lay()
        shutil.copytree(self.workspace.artifacts.root, pod.folder("/artifacts") / "artifacts")
        self.pods.append(pod)
        return pod

    def triton(self, release: ClusterRelease, name: str = "triton") -> PodHere:
        """A Triton pod whose files were fetched, and that was started."""
        pod = self.pod(release, "triton", name)
        self.port = self.port or self.free_port()
        pod.replaced = {
            "--http-port=8000": f"--http-port={self.port}",
            "--metrics-port=8002": f"--metrics-port={self.free_port()}",
            "--exit-timeout-secs=30": "--exit-timeout-secs=2",  # Triton takes all of it to end
        }
        done = pod.fetch()
        assert done.returncode == 0, done.stderr
        self.start_triton(pod)
        return pod

    def start_triton(self, pod: PodHere) -> subprocess.Popen[bytes]:
        program = [str(self.install.binary), f"--backend-directory={self.install.backends}"]
        repository = f"--model-repository={pod.folder('/models') / 'repository'}"
        memory = f"--backend-config=python,shm-region-prefix-name=k{self.port}{len(self.pods)}_"
        return pod.start([*program, repository, memory], **self.install.environment)

    def gateway(
        self, release: ClusterRelease, keys: Path | None, name: str = "gateway", **shared: Any
    ) -> tuple[PodHere, str]:
        """A gateway pod that was started, and its address; without a keys file it shares a store."""
        pod, port = self.pod(release, "gateway", name, **shared), self.free_port()
        if keys is not None:
            shutil.copyfile(keys, pod.folder("/var/run/opswright/keys") / "keys.json")
        service = f"{release.name('triton', of_release=True)}:8000"
        pod.replaced = {service: f"127.0.0.1:{self.port}", "8700": str(port)}
        done = pod.fetch()
        assert done.returncode == 0, done.stderr
        pod.start([sys.executable])
        return pod, f"http://127.0.0.1:{port}"


@pytest.fixture
def site(tmp_path: Path, triton_home: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    install = locate(triton_home, PlatformFacts.here(), print)
    workspace = Workspace(load_settings(home=tmp_path / "home"))
    found = Site(tmp_path, workspace, install, free_port)
    yield found
    for pod in found.pods:
        pod.end()


def test_the_pods_of_a_release_answer_users_and_prove_who_they_are(
    site: Site, engines: tuple[Path, Path]
) -> None:
    release = site.release(engines[0], "one")
    key = KeyStore(site.workspace).create("webshop")
    triton = site.triton(release)
    until(lambda: triton.probe("startupProbe").returncode == 0, "Triton does not get ready")
    assert triton.probe("livenessProbe").returncode == 0
    assert httpx.get(f"http://127.0.0.1:{site.port}/v2/health/live", timeout=60).status_code == 403

    _, url = site.gateway(release, site.workspace.root / "keys.json")

    until(lambda: answers(url), "the gateway does not get ready")
    assert httpx.get(f"{url}/readyz", timeout=60).json() == {"ready": True, "serves": release.serves}
    asked = {"model": "shop", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    bearer = {"authorization": f"Bearer {key.text}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=asked, headers=bearer, timeout=60)
    assert answer.status_code == 200 and answer.headers["x-opswright-release"] == release.id
    assert httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).status_code == 401

    triton.end()
    until(lambda: not answers(url), "the gateway is ready without Triton")
    assert triton.probe("livenessProbe").returncode == 1
    site.start_triton(triton)
    until(lambda: answers(url), "the gateway does not come back")


def test_a_triton_of_another_release_is_ready_for_nobody(site: Site, engines: tuple[Path, Path]) -> None:
    wanted, other = site.release(engines[0], "one"), site.release(engines[1], "two")
    bearer = {"authorization": f"Bearer {KeyStore(site.workspace).create('webshop').text}"}
    running = site.triton(other, "other")
    until(lambda: running.probe("readinessProbe").returncode == 0, "Triton does not get ready")
    mistaken = site.pod(wanted, "triton", "mistaken")
    mistaken.replaced = running.replaced
    says = f"release {other.id} answers, not {wanted.id}"
    until(lambda: says in mistaken.probe("readinessProbe").stderr, "the probe takes it for its own")
    _, url = site.gateway(wanted, site.workspace.root / "keys.json")

    def document() -> dict[str, Any]:
        try:
            return dict(httpx.get(f"{url}/readyz", headers=bearer, timeout=60).json())
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}

    def refused() -> dict[str, Any]:
        """What the gateway says once it has met that Triton and did not take it; empty before."""
        found = document()
        errors = [row.get("error", "no answer") for row in found.get("releases", ())]
        return found if any(error != "no answer" for error in errors) else {}

    seen: list[dict[str, Any]] = []

    def looked() -> bool:
        seen.append(refused())
        return bool(seen[-1])

    until(looked, "the gateway never looked")
    assert seen[-1]["ready"] is False and seen[-1]["serves"] != wanted.serves


def test_files_that_were_changed_where_they_lie_are_not_served(
    site: Site, engines: tuple[Path, Path]
) -> None:
    release = site.release(engines[0], "one")
    pod = site.pod(release, "triton", "triton")
    (weights,) = pod.folder("/artifacts").glob("artifacts/bundle/*/files/engine/model.onnx")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    done = pod.fetch()
    assert done.returncode == 7 and "model.onnx" in done.stderr
    assert not (pod.folder("/models") / "repository").exists()


def test_files_that_are_not_there_are_named(site: Site, engines: tuple[Path, Path]) -> None:
    release = site.release(engines[0], "one")
    pod = site.pod(release, "triton", "triton")
    shutil.rmtree(pod.folder("/artifacts") / "artifacts")
    done = pod.fetch()
    assert done.returncode == 2 and f"no {release.bundle.short} at" in done.stderr


def asked(url: str, key: str, **more: Any) -> httpx.Response:
    body = {"model": "shop", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, **more}
    bearer = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=bearer, timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def knows(url: str, key: str) -> bool:
    """Whether a gateway lets a key in; asked of what counts against no limit."""
    bearer = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/v1/models", headers=bearer, timeout=60).status_code == 200


def test_two_gateway_pods_share_keys_limits_and_traffic_whatever_dies(
    site: Site,
    engines: tuple[Path, Path],
    redis_server: Callable[..., Any],
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One Redis that asks for a password and writes each change down, one S3, two pods, one Triton."""
    monkeypatch.setenv("STORE_PASSWORD", SECRET)
    redis = redis_server("--requirepass", SECRET, "--appendonly", "yes", "--appendfsync", "always")
    store = StoreSettings.model_validate(
        {"url": redis.url, "password": "secret:env:STORE_PASSWORD", "timeout_s": 20}
    )
    keys = SharedKeyStore(store)
    limited = keys.create("limited", limits=Limits(requests_per_minute=4))
    webshop = keys.create("webshop", limits=Limits(budget_tokens=100_000, budget_period="forever"))
    release = site.release(engines[0], "one")
    triton = site.triton(release)
    until(lambda: triton.probe("startupProbe").returncode == 0, "Triton does not get ready")
    shared = {
        "store": {"url": redis.url},
        "traffic": {"ship_to": f"s3://{s3_bucket}/logs", "ship_every_s": 2},
        "secrets": {"traffic": "writer"},
    }
    pods = [site.gateway(release, None, f"gateway-{number}", **shared) for number in range(2)]
    (one, first), (_, second) = pods
    for url in (first, second):
        until(lambda at=url: answers(at), "a gateway does not get ready")  # type: ignore[misc]

    # a limit holds over both together
    codes = [asked(url, limited.text).status_code for url in (first, second) * 4]
    assert codes.count(200) in range(4, 7) and codes[-1] == 429  # a minute may turn in between

    # a key that is taken back is refused by both, a new one is taken by both
    keys.revoke("limited")
    until(lambda: not knows(first, limited.text) and not knows(second, limited.text), "it still opens")
    late = keys.create("late")
    until(lambda: knows(first, late.text) and knows(second, late.text), "a new key is not taken")

    # what was used outlives a pod and the store that are killed
    told = [asked(url, webshop.text) for url in (first, second)]
    assert [reply.status_code for reply in told] == [200, 200]
    used = sum(reply.json()["usage"]["total_tokens"] for reply in told)
    counts = RedisUsage(store, None)
    until(lambda: counts.used(webshop.key).tokens == used, "it is not counted")
    one.started[0].kill()
    one.started[0].wait(PATIENCE_S)
    redis.kill()
    assert asked(second, webshop.text).status_code == 503  # limits cannot be looked at
    assert asked(second, late.text).status_code == 200  # and a key without any goes on
    redis.start()
    until(lambda: asked(second, webshop.text).status_code == 200, "the store is not used again")
    counts.close()
    until(lambda: counts.used(webshop.key).requests == 3, "what was used before is forgotten")

    # the killed pod's container begins again on its folder; what users said to the other pod joins its answer
    one.started.clear()
    one.start([sys.executable])
    until(lambda: answers(first), "the pod does not come back")
    said = {"model": "shop", "id": told[0].json()["id"], "answer": "lost_card"}
    bearer = {"authorization": f"Bearer {webshop.text}"}
    reply = httpx.post(f"{second}/v1/feedback", json=said, headers=bearer, timeout=60)
    assert reply.status_code == 200 and reply.json()["joined"] == "when read"
    for pod, _ in pods:
        pod.end()
    counts.close()

    home = Workspace(load_settings(home=site.root / "analyst"))
    brought = pull(home, "shop", f"s3://{s3_bucket}/logs", since=None, own=None)
    assert brought.new >= 3
    rows = read(home, "shop", pulled=True)
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids)
    by_caller = Counter(row.caller for row in rows if row.status == "ok")
    assert by_caller["limited"] == codes.count(200) and by_caller["webshop"] == 3 and by_caller["late"] == 1
    (labelled,) = labelled_requests(home, "shop")
    assert labelled.right_answer == "lost_card" and labelled.row.caller == "webshop"
    files = [path for pod, _ in pods for path in pod.root.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in files)
