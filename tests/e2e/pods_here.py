"""Pods of a release as processes of this machine, by what their manifests say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opswright.core.artifact_refs import BundleRef
from opswright.core.workspace import Workspace
from opswright.serving.kubernetes.manifests import render
from opswright.serving.kubernetes.release import ClusterRelease
from opswright.serving.kubernetes.shape import ClusterShape
from opswright.serving.triton.environment import Install

from .asking import PATIENCE_S

SECRET = "a-secret-of-the-test"


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

    def kill(self) -> None:
        """As by the kernel: no process of it ends anything in order."""
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait(PATIENCE_S)
        self.started.clear()

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
