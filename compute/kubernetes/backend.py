"""The backend `kubernetes`: each job a Job of a cluster (or a TrainJob), through its API.

A job is known by its name together with the token in its annotations and the uid that the API gave it: names
are given out again, and another workspace may have chosen the same. What the job reads, writes and says of
itself lies on a volume that its pod and this machine share. How it stands, a look says; watches tell when to
look, and where there are none it is looked at from time to time.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from ...core.contract import Finding, JobHandle
from ...core.errors import AskError, BackendError, IntegrityError, NeedsError, OpswrightError
from ...core.settings.compute import KubernetesSettings
from ..folder import GRACE_S, SCRIPT, JobFolder, StatusFile, missing_inputs
from ..job import Changes, Job, JobState, JobStatus, NoChanges, Resources
from ..manifests import faults, require_valid
from ..staging import collected, stage
from .client import EVENTS, JOBS, PODS, TRAIN_JOBS, ApiError, ClusterApi, Json, Kind, open_cluster
from .manifest import JobRequest, manifest_of, object_name, pod_selector, token_of
from .places import SharedVolume
from .states import STUCK, rank_of, status_of, telling, waits_without_a_cause
from .train_job import SCHEMAS
from .watch import JobWatches

_KINDS = {"Job": JOBS, "TrainJob": TRAIN_JOBS}
_NEWEST = "1.37"
_MOST_NODES = 64
_SENT_TO = "sent-to.json"  # in the state folder, before anything is sent
_FACTS = {"kind", "namespace", "server"}
Opener = Callable[[KubernetesSettings], ClusterApi]


class KubernetesCompute:
    """Has each job run by a cluster."""

    name = "kubernetes"
    poll_s = (0.5, 15.0)
    look_s = 120.0  # while it is watched
    outputs_s = 30.0  # a network disk may show a file this much later

    def __init__(
        self,
        settings: KubernetesSettings,
        grace_s: int = GRACE_S,
        opened: Opener = open_cluster,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._grace_s = grace_s
        self._opened = opened
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}
        self._cancelled: set[str] = set()
        self._rank: dict[str, int] = {}  # of the node by which a job stands as it does

    def check(self, resources: Resources) -> Sequence[Finding]:
        """The namespace, the image and what is asked for; whether the cluster would take such a job."""
        try:
            cluster = self._cluster
            manifest = self.manifest(resources)
        except OpswrightError as error:
            return [Finding(level="stop", message=str(error))]
        found = [Finding(level="note", message=self._in_words(resources))]
        try:
            version = self._settings.version or cluster.version()
            wrong = [str(fault) for fault in faults(manifest, version, SCHEMAS)]
            if not wrong:
                cluster.create(self._kind, manifest, dry_run=True)
        except ApiError as error:
            return [*found, self._in_the_way(error)]
        except OpswrightError as error:
            return [*found, Finding(level="stop", message=str(error))]
        return [*found, *(Finding(level="stop", message=f"invalid manifest: {fault}") for fault in wrong)]

    def manifest(self, resources: Resources, name: str = "opswright-job") -> Json:
        """What a job that asks for this would be sent as; its name, token and folders are examples."""
        volume = SharedVolume.of(self._settings)
        folder = volume.here / name
        request = JobRequest(
            name=name,
            token="0" * 32,
            state=folder / "job-1",
            folder=folder,
            log=folder / "log",
            resources=resources,
            labels={},
            grace_s=self._grace_s,
        )
        return self._render(request)

    def checked_manifest(self, resources: Resources) -> Json:
        """The same; AskError for one with faults, by the schemas of the version that is set or the newest."""
        manifest = self.manifest(resources)
        require_valid(manifest, self._settings.version or _NEWEST, SCHEMAS)
        return manifest

    def submit(self, job: Job) -> JobHandle:
        """Lay the job out on the volume and create it; what the API did not answer is asked again."""
        if missing := missing_inputs(job):
            raise AskError(f"job {job.name} needs {', '.join(missing)} in {job.folder}: not found.")
        volume, cluster = SharedVolume.of(self._settings), self._cluster
        folder = volume.run_folder(job)
        if folder == job.folder:
            volume.require_seen(job)
        stage(job, folder)
        log = job.log if folder == job.folder else folder / "log"
        sent = job.model_copy(update={"log": log, "command": self._in_image(job.command)})
        state = JobFolder.create(sent, folder)
        shutil.copy2(SCRIPT, state.path / SCRIPT.name)  # the image need not have it, nor under this path
        (state.path / _SENT_TO).write_text(json.dumps(self._facts(state)))
        try:
            manifest = self._render(self._request(sent, state, folder))
            require_valid(manifest, self._settings.version or self._version(), SCHEMAS)
            made = cluster.create(self._kind, manifest)
        except ApiError as error:
            made = self._after_refusal(job, state, error)
        except OpswrightError:
            state.close()  # nothing was sent
            raise
        return state.keep(self._handle(self._facts(state), state, made))

    def find(self, job: Job) -> JobHandle | None:
        """The last attempt, by the handle it left or by its name in the cluster."""
        state = JobFolder.latest(job, SharedVolume.of(self._settings).run_folder(job))
        if state is None or state.is_closed:
            return None
        if (handle := state.handle()) is not None:
            return handle
        try:
            facts = json.loads((state.path / _SENT_TO).read_text())
            made = self._at(facts).read(_KINDS[facts["kind"]], object_name(job, state.token))
        except FileNotFoundError:
            made = None  # it was not sent yet
        except ApiError as error:
            raise BackendError(
                f"job {job.name} may have been submitted to Kubernetes, and the cluster cannot be asked: "
                f"{error} Repeat when it replies: it is not submitted twice."
            ) from error
        if made is not None and token_of(made) == state.token:
            return state.keep(self._handle(facts, state, made))
        state.close()  # should its submission still be under way, the script does nothing
        return None

    def poll(self, handle: JobHandle) -> JobStatus:
        """By the job's conditions and its pod's; by its status file once the cluster has it no more."""
        state = JobFolder.of(handle)
        try:
            cluster = self._at(handle.facts)
            job = self._read(cluster, handle)
            pods = [] if job is None else self._pods(cluster, handle)
            rank = self._rank[handle.token] = rank_of(telling(pods))
            seen = state.status(rank)
            if job is None:
                return self._gone(handle, state.status())
            events = self._events(cluster, job, pods) if waits_without_a_cause(job, pods) else []
        except (ApiError, NeedsError, AskError) as error:
            return self._unreachable(state.status(), error)
        self._since.pop((handle.token, "gone"), None)
        return self._unless_stuck(handle, status_of(job, pods, seen, events))

    def changes(self, handle: JobHandle) -> Changes:
        """Watch the job, its pods and what is said of them; a cluster that cannot be asked tells nothing."""
        try:
            cluster = self._at(handle.facts)
        except (ApiError, NeedsError, AskError):
            return NoChanges()
        kind = handle.facts["kind"]
        return JobWatches(
            cluster, _KINDS[kind], handle.id, handle.facts.get("uid", ""), pod_selector(kind, handle.id)
        )

    def logs(self, handle: JobHandle) -> str:
        """The end of its node's log on the volume; what its pod's container wrote where that is empty."""
        if text := JobFolder.of(handle).log_tail(self._rank.get(handle.token, 0)):
            return text
        try:
            cluster = self._at(handle.facts)
            pod = telling(self._pods(cluster, handle))
            return "" if pod is None else cluster.pod_log(pod["metadata"]["name"])
        except OpswrightError:
            return ""

    def cancel(self, handle: JobHandle) -> None:
        """Delete the job with its pods, once it is known to be this one; one that ended is kept."""
        cluster = self._at(handle.facts)
        try:
            job = self._read(cluster, handle)
            if job is None or status_of(job, self._pods(cluster, handle), None).state.is_final:
                return
            cluster.delete(_KINDS[handle.facts["kind"]], handle.id, job["metadata"]["uid"])
        except ApiError as error:
            raise BackendError(
                f"Kubernetes did not take the cancellation: {error} When it replies: `kubectl delete "
                f"{handle.facts['kind'].lower()} {handle.id} --namespace {handle.facts['namespace']}`."
            ) from error
        self._cancelled.add(handle.token)

    def collect(self, handle: JobHandle) -> Path:
        """The folder the outputs are in: the job's own, to which a staged folder's are copied back."""
        return collected(handle, self.outputs_s)

    @property
    def most_nodes(self) -> int:
        """Nodes that a job may have: a Job has one pod, a TrainJob one a node."""
        return _MOST_NODES if self._settings.kind == "TrainJob" else 1

    @cached_property
    def _cluster(self) -> ClusterApi:
        return self._opened(self._settings)

    @property
    def _kind(self) -> Kind:
        return _KINDS[self._settings.kind]

    def _version(self) -> str:
        try:
            return self._cluster.version()
        except ApiError:
            return _NEWEST  # the creation that follows says what is wrong

    def _render(self, request: JobRequest) -> Json:
        namespace = self._settings.namespace or self._cluster.address.namespace
        return manifest_of(request, self._settings, namespace)

    def _request(self, job: Job, state: JobFolder, folder: Path) -> JobRequest:
        return JobRequest(
            name=object_name(job, state.token),
            token=state.token,
            state=state.path,
            folder=folder,
            log=job.log,
            resources=job.resources,
            labels=job.labels,
            grace_s=self._grace_s,
        )

    def _in_image(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command with the image's Python in the place of this machine's."""
        return (self._settings.python, *command[1:]) if command[0] == sys.executable else command

    def _after_refusal(self, job: Job, state: JobFolder, error: ApiError) -> Json:
        """The object that an unanswered request made after all, or the reason why there is none.

        Only a refusal that is sure closes the attempt: one that may be at work must be found again.
        """
        is_unsure = error.may_pass
        if error.code in (0, HTTPStatus.CONFLICT):
            try:
                made = self._cluster.read(self._kind, object_name(job, state.token))
            except ApiError:
                made, is_unsure = None, True
            if made is not None and token_of(made) == state.token:
                return made
        if is_unsure:
            raise BackendError(
                f"the cluster did not take job {job.name}: {error} Repeat when it replies; should it have "
                "been taken after all, it is found again."
            ) from error
        state.close()
        raise AskError(
            f"the cluster refused job {job.name}: {error} Change the settings compute.kubernetes or what the "
            "step asks for."
        ) from error

    def _at(self, facts: Mapping[str, str]) -> ClusterApi:
        """The cluster, if it is the one that has the job: by another, the job would be called lost."""
        if not facts.keys() >= _FACTS or facts["kind"] not in _KINDS:
            raise IntegrityError(
                "the recorded job names no cluster. The record was forged: see `opswright audit verify`."
            )
        here = self._cluster.address
        if (here.server, here.namespace) != (facts["server"], facts["namespace"]):
            raise ApiError(
                f"it was submitted to namespace {facts['namespace']} of {facts['server']}, and the settings "
                f"lead to {here.namespace} of {here.server}. Set compute.kubernetes.context and namespace as "
                "they were."
            )
        return self._cluster

    def _read(self, cluster: ClusterApi, handle: JobHandle) -> Json | None:
        """The job, None when the cluster has it no more or another has its name."""
        job = cluster.read(_KINDS[handle.facts["kind"]], handle.id)
        if job is None or token_of(job) != handle.token or job["metadata"]["uid"] != handle.facts["uid"]:
            return None
        return job

    def _pods(self, cluster: ClusterApi, handle: JobHandle) -> list[Json]:
        """Its pods: those that carry its token, whoever chose their names."""
        found = cluster.list(PODS, labels=pod_selector(handle.facts["kind"], handle.id))
        return [pod for pod in found if token_of(pod) == handle.token]

    def _events(self, cluster: ClusterApi, job: Json, pods: Sequence[Json]) -> list[Json]:
        """What was said of its last pod, or of the job while it has none; nothing without the right."""
        about = telling(pods) or job
        try:
            return cluster.list(EVENTS, fields=f"involvedObject.uid={about['metadata']['uid']}")
        except ApiError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                return []
            raise

    def _unless_stuck(self, handle: JobHandle, status: JobStatus) -> JobStatus:
        """Failed, when it has waited for too long for what nothing but a person changes."""
        key = (handle.token, "stuck")
        if status.state is not JobState.PENDING or status.reason not in STUCK:
            self._since.pop(key, None)
            return status
        if self._waited_s(key) < self._settings.give_up_minutes * 60:
            return status
        message = f"could not start ({status.reason}: {status.message})"
        return status.model_copy(update={"state": JobState.FAILED, "message": message})

    def _gone(self, handle: JobHandle, seen: StatusFile | None) -> JobStatus:
        if seen is not None and seen.state == "exited":
            return seen.ended_as()
        if handle.token in self._cancelled:
            return JobStatus(state=JobState.CANCELLED, reason="deleted", message="was cancelled")
        if self._waited_s((handle.token, "gone")) < self._settings.lost_after_s:
            message = "Its status file is awaited"
            return JobStatus(state=JobState.UNKNOWN, reason="the cluster no longer has it", message=message)
        return JobStatus(
            state=JobState.LOST,
            reason="gone",
            message="is lost: the cluster no longer has it, and it left no exit code",
            remedy="Someone deleted it (kubectl delete), or its namespace. Repeat the step: it goes on from "
            "what was saved.",
        )

    def _waited_s(self, key: tuple[str, str]) -> float:
        now = self._clock()
        return now - self._since.setdefault(key, now)

    def _unreachable(self, seen: StatusFile | None, error: OpswrightError) -> JobStatus:
        """By the job's own word how it ended, unless it was told to: it may have been started again since."""
        if seen is not None and seen.state == "exited" and not seen.why:
            return seen.ended_as()
        is_silent = isinstance(error, ApiError) and error.may_pass
        return JobStatus(
            state=JobState.UNKNOWN,
            reason="the cluster does not reply" if is_silent else "the cluster cannot be asked",
            message=str(error),
            remedy="It is asked again until it replies; the job itself may go on.",
        )

    def _in_the_way(self, error: ApiError) -> Finding:
        if error.may_pass:
            return Finding(
                level="warn",
                message=f"the cluster cannot be asked: {error}",
                fix="A job can be submitted when it replies.",
            )
        fix = "Ask for the right to create it, or set compute.kubernetes.namespace."
        return Finding(
            level="stop",
            message=f"the cluster would not take the job: {error}",
            fix=fix if error.code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) else "",
        )

    def _in_words(self, resources: Resources) -> str:
        ours = self._settings
        minutes = resources.walltime_minutes or ours.walltime_minutes
        queue = resources.partition or ours.queue
        asked = [f"{resources.cpus} CPUs", f"{resources.gpus} GPUs"]
        if resources.nodes > 1:
            asked.insert(0, f"{resources.nodes} nodes of")
        asked.append(f"{minutes:g} minutes" if minutes else "no time limit")
        return (
            f"it runs on Kubernetes as a {ours.kind} (compute: kubernetes), {self._cluster.address}, image "
            f"{ours.image}{f', queue {queue}' if queue else ''}: {', '.join(asked)}. Waiting for a node is "
            "not in the estimate and counts towards the plan's minutes. `opswright compute manifest` shows "
            "what is sent."
        )

    def _facts(self, state: JobFolder) -> dict[str, str]:
        """What a handle needs to find its job again, whatever the settings say by then."""
        address = self._cluster.address
        return {
            "state": str(state.path),
            "kind": self._settings.kind,
            "namespace": address.namespace,
            "server": address.server,
        }

    def _handle(self, facts: Mapping[str, str], state: JobFolder, made: Json) -> JobHandle:
        metadata = made["metadata"]
        return JobHandle(
            backend=self.name, id=metadata["name"], token=state.token, facts={**facts, "uid": metadata["uid"]}
        )
