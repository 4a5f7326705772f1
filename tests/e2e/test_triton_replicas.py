"""Two Triton servers of somebody else behind one gateway: a release is served by both, or taken back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import BackendError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.fleet import GatewayClient, stop_all
from opswright.serving.releases import read_state
from opswright.serving.rollout import Rollout
from opswright.serving.status import status

from .asking import PATIENCE_S, Clients, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SECRET = "a-secret-of-theirs"


@pytest.fixture
def servers(start_triton: Callable[..., Any], tmp_path: Path) -> tuple[Any, Any]:
    (tmp_path / "shared").mkdir()
    return start_triton(tmp_path / "shared"), start_triton(tmp_path / "shared")


@pytest.fixture
def workspace(servers: tuple[Any, Any], tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "secret").write_text(SECRET)
    external = {
        "urls": [server.url for server in servers],
        "repository": str(tmp_path / "shared"),
        "secret": f"secret:file:{tmp_path / 'secret'}",
    }
    serving = ServingSettings.model_validate(
        {"gateway_port": 0, "start_timeout_s": PATIENCE_S, "external": external}
    )
    found = Workspace(load_settings(home=tmp_path / "workspace", serving=serving, actor="tester"))
    yield found
    stop_all(found)


def bundle(workspace: Workspace, engine: Path) -> BundleRef:
    with workspace.artifacts.staging() as stage:
        shutil.copytree(engine, stage / "engine")
        (stage / "manifest.json").write_text("{}")
        return workspace.artifacts.save(BundleRef, stage, {"target": "onnx-int8"})


def rollout(workspace: Workspace, say: Callable[[str], None] = lambda line: None) -> Rollout:
    return Rollout(workspace, "shop", GatewayClient(workspace), say=say, timeout_s=PATIENCE_S)


def transfer(number: int) -> dict[str, Any]:
    said = {"role": "user", "content": "transfer money"}
    return {"model": "shop", "messages": [said], "max_tokens": 3}


def test_a_deploy_during_which_a_server_dies_is_taken_back_and_nobody_notices(
    workspace: Workspace, servers: tuple[Any, Any], engines: tuple[Path, Path]
) -> None:
    stays, dies = servers
    first = rollout(workspace).deploy(bundle(workspace, engines[0]), None, 100)
    assert status(workspace)["alarms"] == [] and first.facts.server == "triton"
    assert len(stays.models()) == len(dies.models()) == 1

    def kill(line: str) -> None:
        if line.startswith("loading release"):
            dies.kill()

    second = bundle(workspace, engines[1])
    with Clients(first.url, transfer) as clients:
        with pytest.raises(BackendError, match=r"not served everywhere.*") as refused:
            rollout(workspace, kill).deploy(second, None, 100)
        wait_until(lambda: len(status(workspace)["alarms"]) == 1, "the dead server is the one alarm")
    assert dies.url in str(refused.value) and stays.url not in str(refused.value)
    assert clients.failed == [] and {reply.release for reply in clients.replies} == {first.release.id}
    state = read_state(workspace, "shop")
    assert state.stable == first.release and state.candidate is None
    (alarm,) = status(workspace)["alarms"]
    assert dies.url in alarm and first.release.id in alarm
    dies.start()
    wait_until(lambda: status(workspace)["alarms"] == [], "the server that is back serves again")
    done = rollout(workspace).deploy(second, None, 100)
    assert status(workspace)["alarms"] == [] and done.release.id != first.release.id


def test_stopping_the_gateway_leaves_their_servers_and_a_killed_one_finds_what_it_had(
    workspace: Workspace, servers: tuple[Any, Any], engines: tuple[Path, Path]
) -> None:
    done = rollout(workspace).deploy(bundle(workspace, engines[0]), None, 100)
    stubs = {stub.pid for server in servers for stub in server.stubs()}
    with Clients(done.url, transfer) as clients:
        clients.wait_for(6)
    assert clients.failed == []
    stopped = stop_all(workspace)
    assert all("triton" not in one for one in stopped)
    assert all(server.is_live() and server.models() == set() for server in servers)
    assert stubs and GatewayClient(workspace).start()
    wait_until(lambda: status(workspace)["endpoints"][0]["answers"], "it serves again")
    wait_until(lambda: status(workspace)["alarms"] == [], "on both")
