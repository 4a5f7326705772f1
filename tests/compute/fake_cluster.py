"""An API server (fake_api.py) with controllers that run a Job's pods as processes of this machine.

It speaks what compute.kubernetes asks: create (with dryRun), read, list and watch by selectors, log, delete
with a precondition and in the foreground.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import yaml
from aiohttp import web

from .fake_api import FakeApi, Fault, Json, Refusal

__all__ = ["FakeCluster", "Fault"]
INDEX = "batch.kubernetes.io/job-completion-index"


class FakeCluster(FakeApi):
    """The cluster: what it has, and what is to happen to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.volumes: dict[str, Path] = {}
        self.secrets: dict[tuple[str, str], str] = {}
        self.pod_waits: tuple[str, str] | None = None  # the next pods wait for this reason, with this message
        self.refuses_pods = ""  # what the Job controller is told instead of a pod
        self.holds = False  # a queue manager that admits nothing yet
        self.has_torch_policy = True
        self._ports: dict[str, int] = {}
        self._out_of_memory: set[str] = set()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def stop(self) -> None:
        super().stop()
        for process in list(self._processes.values()):
            _kill(process)

    def kubeconfig(self, namespace: str = "lm") -> Path:
        path = self.folder / "kubeconfig"
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "t"}}],
            "contexts": [context],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    # what happens to what is there

    def objects(self, plural: str) -> list[Json]:
        with self._lock:
            return [one for (kind, _, _), one in self._objects.items() if kind == plural]

    def pod_of(self, name: str) -> Json:
        return max(self._pods_of(name), key=lambda pod: pod["metadata"]["creationTimestamp"])

    def disrupt(self, name: str, reason: str, kill: bool = False) -> None:
        """Take a job's pod away, by request (TERM, then KILL) or by force."""
        with self._lock:
            pod = self.pod_of(name)
            condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "taken"}
            pod["status"].setdefault("conditions", []).append(condition)
            self._end(pod, kill=kill)

    def reach_deadline(self, name: str) -> None:
        """What the Job controller does once activeDeadlineSeconds are over."""
        with self._lock:
            job = next(one for one in self.objects("jobs") if one["metadata"]["name"] == name)
            assert job["spec"]["activeDeadlineSeconds"] > 0
            self._condition(
                job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
            )
            self._end(self.pod_of(name))

    def silence_node(self, name: str) -> None:
        with self._lock:
            pod = self.pod_of(name)
            pod["status"]["reason"] = "NodeLost"

    def forget(self, name: str, plural: str = "jobs") -> None:
        """Delete an object and its pods by force, without a word."""
        with self._lock:
            for pod in self._pods_of(name):
                if pod["metadata"]["uid"] in self._processes:
                    _kill(self._processes[pod["metadata"]["uid"]])
                self._remove("pods", pod)
            for one in self.objects(plural):
                if one["metadata"]["name"] == name:
                    self._remove(plural, one)

    def delete(self, name: str, plural: str = "jobs") -> None:
        """What `kubectl delete` does: the pods are asked to end first."""
        with self._lock:
            space = next(one["metadata"]["namespace"] for one in self.objects(plural))
            self._delete(plural, space, name, {})

    def run_out_of_memory(self, name: str) -> None:
        """What a kernel and kubelet do to a container that wants more than its limit."""
        with self._lock:
            pod = self.pod_of(name)
            self._out_of_memory.add(pod["metadata"]["uid"])
            self._end(pod, kill=True)

    def release(self, waits: tuple[str, str] | None = None) -> None:
        """Let go what waits: pods start (or wait for a reason), jobs are admitted, pods are allowed."""
        with self._lock:
            self.pod_waits, self.refuses_pods, self.holds = waits, "", False
            for job in self.objects("jobs") + self.objects("trainjobs"):
                job["status"] = {"conditions": []}
                for pod in self._pods_of(job["metadata"]["name"]):
                    self._remove("pods", pod)
                self._make_pods(job)

    # what is asked of it

    def _create(self, plural: str, space: str, body: Json, is_dry: bool) -> web.Response:
        name = body["metadata"]["name"]
        if (plural, space, name) in self._objects:
            raise Refusal(409, "AlreadyExists", f'{plural}.batch "{name}" already exists')
        if plural == "jobs" and "template" not in body.get("spec", {}):
            raise Refusal(422, "Invalid", "spec.template: Required value")
        made = self._stored(plural, {**body, "status": {"conditions": []}})
        if not is_dry:
            self._objects[plural, space, name] = made
            if self.holds:
                self._condition(made, "Suspended", "Suspended", "no quota reserved")
            else:
                self._make_pods(made)
        return web.json_response(made, status=201)

    def _delete(self, plural: str, space: str, name: str, options: Json) -> web.Response:
        found = self._get(plural, space, name)
        wanted = options.get("preconditions", {}).get("uid", found["metadata"]["uid"])
        if wanted != found["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the UID in the precondition does not match")
        found["metadata"].setdefault("deletionTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        for pod in self._pods_of(name):
            self._end(pod)
        self._finish_deletion(plural, found)
        return web.json_response(found)

    def _finish_deletion(self, plural: str, thing: Json) -> None:
        """Foreground: it goes when its pods are gone."""
        name = thing["metadata"]["name"]
        if "deletionTimestamp" in thing["metadata"] and not any(map(self._is_at_work, self._pods_of(name))):
            for pod in self._pods_of(name):
                self._remove("pods", pod)
            self._remove(plural, thing)

    def _log(self, pod: Json) -> bytes:
        path = self.folder / f"{pod['metadata']['uid']}.log"
        return path.read_bytes() if path.exists() else b""

    # controllers and kubelet

    def _condition(self, thing: Json, kind: str, reason: str, message: str = "") -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        thing["status"]["conditions"].append(condition)

    def _event(self, about: Json, reason: str, message: str) -> None:
        space = about["metadata"]["namespace"]
        metadata = {"name": f"e{next(self._count)}", "namespace": space}
        event = {
            "metadata": metadata,
            "involvedObject": {"uid": about["metadata"]["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": f"{time.time():.6f}",
        }
        self._objects["events", space, metadata["name"]] = event

    def _pods_of(self, name: str) -> list[Json]:
        keys = ("job-name", "jobset.sigs.k8s.io/jobset-name")
        with self._lock:
            pods = [one for (kind, _, _), one in self._objects.items() if kind == "pods"]
            return [pod for pod in pods if name in (pod["metadata"]["labels"].get(key) for key in keys)]

    def _make_pods(self, job: Json) -> None:
        for rank in range(_nodes(job)):
            self._make_pod(job, rank)

    def _make_pod(self, job: Json, rank: int = 0) -> None:
        if self.refuses_pods:
            self._event(job, "FailedCreate", f"Error creating: {self.refuses_pods}")
            return
        name = job["metadata"]["name"]
        template, label = _template(job)
        metadata = {
            **template.get("metadata", {}),
            "name": f"{name}-{next(self._count)}",
            "namespace": job["metadata"]["namespace"],
            "annotations": {**template.get("metadata", {}).get("annotations", {}), INDEX: str(rank)},
            "labels": {**template.get("metadata", {}).get("labels", {}), label: name},
        }
        pod = self._stored(
            "pods", {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}
        )
        self._objects["pods", metadata["namespace"], metadata["name"]] = pod
        if self.pod_waits is None:
            self._start(job, pod)
            return
        reason, message = self.pod_waits
        if reason == "Unschedulable":
            condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
            pod["status"]["conditions"] = [condition]
        elif reason == "FailedMount":
            pod["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": "ContainerCreating"}}}]
            self._event(pod, reason, message)
        else:
            pod["status"]["containerStatuses"] = [
                {"state": {"waiting": {"reason": reason, "message": message}}}
            ]

    def _start(self, job: Json, pod: Json) -> None:
        container = pod["spec"]["containers"][0]
        try:
            environment = {**self._environment(container, pod), **self._meeting(job, pod)}
            self._mount(pod)
        except KeyError as missing:
            waiting = {"reason": "CreateContainerConfigError", "message": f"{missing} not found"}
            pod["status"]["containerStatuses"] = [{"state": {"waiting": waiting}}]
            return
        with (self.folder / f"{pod['metadata']['uid']}.log").open("wb") as log:
            process = subprocess.Popen(
                container["command"],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[pod["metadata"]["uid"]] = process
        pod["status"] = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        threading.Thread(target=self._await, args=(job, pod, process), daemon=True).start()

    def _meeting(self, job: Json, pod: Json) -> dict[str, str]:
        """What the torch policy of a runtime of Kubeflow Trainer tells each pod."""
        if job["kind"] != "TrainJob":
            return {}
        index = pod["metadata"]["annotations"][INDEX]
        if not self.has_torch_policy:
            return {"JOB_COMPLETION_INDEX": index}
        uid = job["metadata"]["uid"]
        trainer = job["spec"]["trainer"]
        return {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "JOB_COMPLETION_INDEX": index,
            "PET_NODE_RANK": index,
            "PET_MASTER_ADDR": "127.0.0.1",  # there NAME-node-0-0.NAME, which its DNS knows
            "PET_MASTER_PORT": str(self._ports.setdefault(uid, _free_port())),
        }

    def _environment(self, container: Json, pod: Json) -> dict[str, str]:
        found = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOSTNAME": pod["metadata"]["name"]}
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):  # as an image has its own
            found |= {name: os.environ[name]} if name in os.environ else {}
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                found[variable["name"]] = self.secrets[reference["name"], reference["key"]]
            elif "fieldRef" in source:
                found[variable["name"]] = pod["metadata"][source["fieldRef"]["fieldPath"].rpartition(".")[2]]
            else:
                found[variable["name"]] = variable["value"]
        return found

    def _mount(self, pod: Json) -> None:
        """A claim is a folder here; where pods see it under another path, that is a link to it."""
        claims = {one["name"]: one.get("persistentVolumeClaim") for one in pod["spec"]["volumes"]}
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            if claim := claims[mount["name"]]:
                place = self.volumes[claim["claimName"]] / mount.get("subPath", "")
                path = Path(mount["mountPath"])
                if path != place and not path.is_symlink():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(place)

    def _await(self, job: Json, pod: Json, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        _kill_session(process.pid)  # a container ends with its first process
        with self._lock:
            exit_code = code if code >= 0 else 128 - code
            reason = "Completed" if code == 0 else "Error"
            reason = "OOMKilled" if pod["metadata"]["uid"] in self._out_of_memory else reason
            terminated = {"exitCode": exit_code, "reason": reason, "finishedAt": f"{time.time():.6f}"}
            pod["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
            pod["status"]["containerStatuses"] = [{"state": {"terminated": terminated}}]
            self._reconcile(job, pod)

    def _reconcile(self, job: Json, pod: Json) -> None:
        plural = {"Job": "jobs", "TrainJob": "trainjobs"}[job["kind"]]
        if self._objects.get((plural, job["metadata"]["namespace"], job["metadata"]["name"])) is not job:
            return
        if "deletionTimestamp" in job["metadata"]:
            self._finish_deletion(plural, job)
        elif any(one["type"] in ("Complete", "Failed") for one in job["status"]["conditions"]):
            return
        elif pod["status"]["phase"] == "Succeeded":
            pods = sorted(
                self._pods_of(job["metadata"]["name"]), key=lambda one: one["metadata"]["creationTimestamp"]
            )
            last = {one["metadata"]["annotations"][INDEX]: one for one in pods}
            if all(one["status"]["phase"] == "Succeeded" for one in last.values()):
                self._condition(job, "Complete", "CompletionsReached")
        elif self._is_disrupted(pod) and "podFailurePolicy" in job["spec"]:
            self._make_pod(job)
        else:
            for other in self._pods_of(job["metadata"]["name"]):  # as a JobSet that fails ends what it has
                self._end(other)
            self._condition(
                job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            )

    def _is_disrupted(self, pod: Json) -> bool:
        return any(one["type"] == "DisruptionTarget" for one in pod["status"].get("conditions", ()))

    def _is_at_work(self, pod: Json) -> bool:
        process = self._processes.get(pod["metadata"]["uid"])
        return process is not None and pod["status"]["phase"] == "Running"

    def _end(self, pod: Json, kill: bool = False) -> None:
        """Ask a pod's first process to end, and kill what is left of it after its grace."""
        if not self._is_at_work(pod):
            return
        process = self._processes[pod["metadata"]["uid"]]
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        grace_s = pod["spec"].get("terminationGracePeriodSeconds", 30)
        timer = threading.Timer(grace_s, _kill, (process,))
        timer.daemon = True
        timer.start()


def _nodes(job: Json) -> int:
    return int(job["spec"]["trainer"]["numNodes"]) if job["kind"] == "TrainJob" else 1


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _template(job: Json) -> tuple[Json, str]:
    """The pod template of a job and the label of its pods; a TrainJob's as Trainer puts it together."""
    if job["kind"] == "Job":
        return job["spec"]["template"], "job-name"
    trainer = job["spec"]["trainer"]
    patch = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    template = patch["template"]["spec"]["template"]
    container = {**template["spec"]["containers"][0], "command": trainer["command"], "env": trainer["env"]}
    spec = {**template["spec"], "containers": [{**container, "image": trainer["image"]}]}
    return {"metadata": template["metadata"], "spec": spec}, "jobset.sigs.k8s.io/jobset-name"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """A pod's first process with all that it started; one that ended gave its number away."""
    if process.poll() is None:
        _kill_session(process.pid)


def _kill_session(leader: int) -> None:
    """Every process of a session, as a runtime does to a container."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (ProcessLookupError, psutil.Error):
            continue
