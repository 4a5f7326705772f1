"""A job that is watched: what happens is told at once, and nothing depends on the watch being alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from opswright.compute import JobFailedError, JobState, run_job
from opswright.compute.kubernetes import KubernetesCompute
from opswright.core.contract import StepContext
from opswright.core.settings.compute import KubernetesSettings

from .cluster_jobs import WORK, MakeJob, attach, begin, with_
from .fake_cluster import FakeCluster, Fault

pytestmark = pytest.mark.e2e
SELDOM = (300.0, 300.0)  # seconds between two looks that nothing asks for


@pytest.fixture(autouse=True)
def _no_watch_outlives_its_step() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 60
    while left := [one.name for one in threading.enumerate() if one.name.startswith("watch of")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def seldom(settings: KubernetesSettings) -> KubernetesCompute:
    """A backend that would look every five minutes, were nothing told."""
    backend = with_(settings)
    backend.poll_s, backend.look_s = SELDOM, SELDOM[0]
    return backend


def later(act: Callable[[], object], fake: FakeCluster, wait: Any) -> threading.Thread:
    """Do it once the job is watched and nobody asks for it any more: only a watch can tell of it then."""

    def settled() -> None:
        wait.until(lambda: watched(fake))
        seen = -1
        while seen != (seen := len(fake.requests)):
            time.sleep(1.5)
        act()

    thread = threading.Thread(target=settled)
    thread.start()
    return thread


def watched(fake: FakeCluster, kinds: int = 2) -> bool:
    return len(fake.watches) >= kinds


def test_the_end_of_a_job_is_told_at_once(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
) -> None:
    backend, job = seldom(kubernetes_settings), bash_job(WORK, outputs=("out",))
    handle = begin(backend, job, wait)
    later((job.folder / "go").touch, fake, wait)
    assert run_job(attach(context, handle), job, backend).status.state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        ("ImagePullBackOff", "no such image", "compute.kubernetes.image"),
        ("Unschedulable", "0/3 nodes are available", "No node fits now"),
        ("FailedMount", "claim not found", "compute.kubernetes.claim"),
    ],
)
def test_why_a_pod_waits_is_told_at_once(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
    reason: str,
    message: str,
    told: str,
) -> None:
    backend, job = seldom(kubernetes_settings), bash_job("true")
    fake.holds = True
    handle = backend.submit(job)
    ctx = attach(context, handle)
    lines = ctx.events.lines  # type: ignore[attr-defined]

    def admit() -> None:
        fake.release(waits=(reason, message))
        wait.until(lambda: any(told in line and reason in line for line in lines))
        fake.release()

    thread = later(admit, fake, wait)
    assert run_job(ctx, job, backend).status.state is JobState.SUCCEEDED
    thread.join(60)


def test_a_pod_that_ran_out_of_memory_ends_the_step_at_once(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
) -> None:
    backend, job = seldom(kubernetes_settings), bash_job(WORK)
    handle = begin(backend, job, wait)
    later(lambda: fake.run_out_of_memory(handle.id), fake, wait)
    with pytest.raises(JobFailedError, match="ran out of memory"):
        run_job(attach(context, handle), job, backend)


@pytest.mark.parametrize("trouble", ["cut", "forgotten", "refused once", "error once", "no words"])
def test_a_watch_in_trouble_goes_on_and_misses_nothing(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
    trouble: str,
) -> None:
    backend, job = seldom(kubernetes_settings), bash_job(WORK, outputs=("out",))
    handle = begin(backend, job, wait)
    if trouble == "refused once":
        fake.faults += [
            Fault("WATCH", "/jobs", 429, headers={"Retry-After": "1"}),
            Fault("WATCH", "/pods", 500),
        ]
    if trouble == "error once":
        fake.faults += [Fault("WATCH", "/jobs", 410), Fault("WATCH", "/pods", 410)]
    if trouble == "no words":
        fake.faults += [Fault("WATCH", "/jobs", cut=True), Fault("WATCH", "/pods", cut=True)]

    def act() -> None:
        if trouble in ("cut", "forgotten"):
            fake.tells = False  # what happens is not told to who watches now
            (job.folder / "go").touch()
            wait.until(lambda: fake.objects("jobs")[0]["status"]["conditions"])
            time.sleep(0.2)
            if trouble == "forgotten":
                fake.compact()
            fake.tells = True
            fake.cut_watches()
        else:
            wait.until(lambda: watched(fake, 4))
            (job.folder / "go").touch()

    thread = later(act, fake, wait)
    assert run_job(attach(context, handle), job, backend).status.state is JobState.SUCCEEDED
    thread.join(60)


@pytest.mark.parametrize("trouble", ["not allowed", "silent", "ends at once"])
def test_without_a_watch_that_works_the_job_is_looked_at_as_ever(
    fake: FakeCluster,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
    context: Callable[..., StepContext],
    wait: Any,
    trouble: str,
) -> None:
    backend, job = with_(kubernetes_settings), bash_job(WORK, outputs=("out",))
    backend.poll_s, backend.look_s = (1.0, 1.0), 2.0 if trouble == "silent" else 300.0
    fake.tells = trouble != "silent"
    if trouble == "not allowed":
        fake.faults.append(Fault("WATCH", "/", 403, times=99))
    if trouble == "ends at once":
        fake.faults.append(Fault("WATCH", "/", 200, times=9999))
    handle = begin(backend, job, wait)
    threading.Timer(2, (job.folder / "go").touch).start()
    assert run_job(attach(context, handle), job, backend).status.state is JobState.SUCCEEDED
    assert len(fake.watches) < 20, "it asks for watches without a pause"


def test_what_is_refused_or_not_connected_is_no_watch(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    handle = begin(kubernetes, job := bash_job(WORK), wait)
    fake.faults += [Fault("WATCH", "/pods", 403, times=99)]
    with closing(kubernetes.changes(handle)) as changes:
        later(lambda: None, fake, wait).join(60)
        assert not changes.is_alive
    (job.folder / "go").touch()
    wait.end(kubernetes, handle)


def test_a_watched_job_is_seldom_asked_for_and_the_server_is_told_where_to_go_on(
    fake: FakeCluster, kubernetes: KubernetesCompute, bash_job: MakeJob, wait: Any
) -> None:
    handle = begin(kubernetes, job := bash_job(WORK), wait)
    with closing(kubernetes.changes(handle)) as changes:
        wait.until(lambda: changes.is_alive and len(fake.watches) >= 2)
        changes.happened()
        fake.requests.clear()
        time.sleep(1)
        assert not fake.requests and not changes.happened()
        (job.folder / "go").touch()
        wait.until(changes.happened)
    assert all("allowWatchBookmarks=true" in query and "resourceVersion=" in query for query in fake.watches)
    wait.end(kubernetes, handle)


def test_a_job_of_another_cluster_is_not_watched(
    fake: FakeCluster,
    kubernetes: KubernetesCompute,
    kubernetes_settings: KubernetesSettings,
    bash_job: MakeJob,
) -> None:
    handle = kubernetes.submit(bash_job("sleep 300"))
    with closing(with_(kubernetes_settings, namespace="other").changes(handle)) as changes:
        assert not changes.is_alive and not changes.happened() and not fake.watches
