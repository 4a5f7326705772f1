"""A real Slurm of one node for the whole session, both backends, and jobs that leave marks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opswright.compute import Compute, Job, JobStatus
from opswright.compute.kubernetes import KubernetesCompute
from opswright.compute.local import LocalCompute
from opswright.compute.slurm import SlurmCompute
from opswright.core.contract import JobHandle
from opswright.core.settings.compute import KubernetesSettings, SlurmSettings

from .fake_cluster import FakeCluster

SCRIPT = Path(__file__).with_name("one_node_slurm.sh")
# Seconds: a finished job is forgotten early, a requeued one held back briefly.
SHORT_TIMES = {"SLURM_T_MINJOBAGE": "5", "SLURM_T_KILLWAIT": "2", "SLURM_T_CRED_EXPIRE": "5"}
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
BACKENDS = [
    pytest.param("local", marks=pytest.mark.e2e),
    pytest.param("slurm", marks=[pytest.mark.slurm, pytest.mark.timeout(900)]),
    pytest.param("kubernetes", marks=pytest.mark.e2e),
]


@dataclass(frozen=True)
class OneNode:
    """The running cluster."""

    folder: Path

    def start(self) -> None:
        """Bring up what is not up, and wait until the node takes jobs."""
        environment = {**os.environ, **SHORT_TIMES, "SLURM_T_CPUS": "8"}
        done = subprocess.run(
            ["bash", str(SCRIPT), "start", str(self.folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        subprocess.run(["bash", str(SCRIPT), "stop", str(self.folder)], capture_output=True, check=True)

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())


@pytest.fixture(scope="session")
def cluster() -> Iterator[OneNode]:
    path = os.environ["PATH"] + ":/usr/sbin"
    if missing := [name for name in NEEDED if shutil.which(name, path=path) is None]:
        pytest.skip(
            f"not run: {', '.join(missing)} missing (apt-get install slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        pytest.skip("not run: the one-node Slurm needs root")
    folder = Path(tempfile.mkdtemp(prefix="one-node-slurm-"))
    folder.chmod(0o755)  # munge wants its socket reachable by everyone
    node = OneNode(folder)
    node.start()
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        yield node
    finally:
        node.stop()
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Compute:
    """Each backend in turn."""
    if request.param == "local":
        return LocalCompute(grace_s=4)
    if request.param == "kubernetes":
        settings = request.getfixturevalue("kubernetes_settings")
        return KubernetesCompute(settings, grace_s=4)
    request.getfixturevalue("cluster")
    return SlurmCompute(SlurmSettings())


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeCluster]:
    """A cluster whose one claim is this test's folder."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = FakeCluster(folder)
    cluster.volumes["work"] = tmp_path
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def kubernetes_settings(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> KubernetesSettings:
    """Settings that lead to it, also for processes that the test starts."""
    settings = KubernetesSettings(
        kubeconfig=fake.kubeconfig(),
        image="registry.lan/opswright:1",
        python=sys.executable,
        claim="work",
        shared_folder=tmp_path,
        lost_after_s=1,
    )
    for name in ("kubeconfig", "image", "python", "claim", "shared_folder"):
        monkeypatch.setenv(f"OPSWRIGHT_COMPUTE__KUBERNETES__{name.upper()}", str(getattr(settings, name)))
    return settings


@pytest.fixture
def bash_job(tmp_path: Path) -> Callable[..., Job]:
    """A job that runs a line of bash in a folder of its own."""

    def make(line: str, *, key: str = "key", **more: object) -> Job:
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        values = {"name": "test", "key": key, "folder": folder, "log": tmp_path / "log", **more}
        return Job.model_validate({**values, "command": ("bash", "-c", line)})

    return make


@pytest.fixture
def kubernetes(kubernetes_settings: KubernetesSettings) -> KubernetesCompute:
    return KubernetesCompute(kubernetes_settings, grace_s=4)


class Wait:
    """Waits with an end: a test that waits for ever says nothing."""

    def until(self, found: Callable[[], object], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.02)

    def state(
        self, backend: Compute, handle: JobHandle, wanted: Callable[[JobStatus], bool], seconds: float = 240
    ) -> JobStatus:
        end = time.monotonic() + seconds
        while not wanted(status := backend.poll(handle)):
            assert time.monotonic() < end, f"still {status}"
            time.sleep(0.05)
        return status

    def end(self, backend: Compute, handle: JobHandle, seconds: float = 240) -> JobStatus:
        return self.state(backend, handle, lambda status: status.state.is_final, seconds)

    def text(self, path: Path) -> str:
        """What a job wrote to a file, once it did."""
        self.until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text()

    def gone(self, pid: int) -> None:
        """Until a process is there no more, or only waits to be reaped."""
        self.until(lambda: _is_over(pid))


@pytest.fixture
def wait() -> Wait:
    return Wait()


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
