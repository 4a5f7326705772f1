"""Where Triton cannot run, the in-process engine serves, and says why."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from opswright.core.errors import NeedsError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.server import ServedModel
from opswright.serving.server_selection import choose, instances_for, threads_for
from opswright.serving.triton.environment import (
    Install,
    PlatformFacts,
    check_stub,
    locate,
)

LINUX = PlatformFacts("Linux", "x86_64", (2, 36), (3, 11), Path("/usr/lib/libpython3.11.so.1.0"))


def asking_for(workspace: Workspace, server: str) -> Workspace:
    settings = load_settings(home=workspace.root, serving=ServingSettings.model_validate({"server": server}))
    return Workspace(settings)


def test_triton_serves_where_its_wheel_runs(workspace: Workspace) -> None:
    assert choose(workspace, LINUX).kind == "triton"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(LINUX, machine="aarch64"), "this is Linux on aarch64"),
        (replace(LINUX, system="Darwin", machine="arm64", glibc=None), "this is Darwin on arm64"),
        (replace(LINUX, glibc=(2, 31)), "this machine has glibc 2.31"),
        (replace(LINUX, glibc=None), "another C library"),
        (replace(LINUX, python=(3, 13)), "this is 3.13"),
        (replace(LINUX, libpython=None), "without its shared library"),
    ],
)
def test_elsewhere_the_engine_runs_in_process_and_the_reason_is_kept(
    workspace: Workspace, facts: PlatformFacts, reason: str
) -> None:
    choice = choose(workspace, facts)
    assert choice.kind == "in-process"
    assert reason in choice.reason
    with pytest.raises(NeedsError, match="SERVER=auto"):
        choose(asking_for(workspace, "triton"), facts)
    with pytest.raises(NeedsError, match="in-process"):
        locate(workspace.root, facts, print)


def test_the_in_process_engine_may_be_asked_for(workspace: Workspace) -> None:
    choice = choose(asking_for(workspace, "in-process"), LINUX)
    assert (choice.kind, choice.reason.startswith("the settings")) == ("in-process", True)


def test_a_server_of_your_own_is_taken_on_any_platform(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "tritonserver"
    monkeypatch.setenv("TRITON_SERVER", str(binary))
    arm = replace(LINUX, machine="aarch64")
    assert choose(workspace, arm).kind == "triton"
    with pytest.raises(NeedsError, match="not an executable file"):
        locate(workspace.root, arm, print)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    found = locate(workspace.root, arm, print)
    assert (found.binary, found.backends) == (binary, None)


def test_a_stub_that_cannot_load_its_library_is_found_before_a_load_would_hang(tmp_path: Path) -> None:
    stub = tmp_path / "backends" / "python" / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    for code, finding in ((127, "stub does not start.*exit 127.*no libpython"), (1, None)):
        stub.write_text(f"#!/bin/sh\necho no libpython >&2; exit {code}\n")
        stub.chmod(0o755)
        install = Install(tmp_path / "tritonserver", tmp_path / "backends", {"PATH": "/usr/bin:/bin"})
        if finding is None:
            check_stub(install)
        else:
            with pytest.raises(NeedsError, match=finding):
                check_stub(install)


def test_a_small_engine_runs_on_one_thread_and_a_large_one_on_all(tmp_path: Path) -> None:
    model = ServedModel("support-v1", 1, tmp_path, "v1-abc", "onnx-int8")
    (tmp_path / "model.onnx").write_bytes(b"small")
    assert threads_for(model) == 1
    with (tmp_path / "model.onnx.data").open("wb") as file:
        file.truncate(100 << 20)
    assert threads_for(model) >= 1


@pytest.mark.parametrize(
    ("wanted", "cores", "free_gb", "copies"),
    [(None, 2, 8, 1), (None, 16, 8, 4), (None, 16, 0.5, 2), (None, 16, 0.01, 1), (3, 2, 0.01, 3)],
)
def test_copies_of_an_engine_follow_cores_and_memory_unless_they_are_named(
    tmp_path: Path, wanted: int | None, cores: int, free_gb: float, copies: int
) -> None:
    model = ServedModel("support-v1", 1, tmp_path, "v1-abc", "onnx-int8")
    assert instances_for(model, wanted, cores, int(free_gb * 2**30)) == copies


def test_a_large_engine_that_takes_all_cores_has_one_copy(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx.data").open("wb") as file:
        file.truncate(100 << 20)
    model = ServedModel("support-v1", 1, tmp_path, "v1-abc", "onnx-int8")
    assert instances_for(model, None) == 1


@pytest.mark.parametrize(
    ("external", "reason"),
    [
        ({"urls": ["http://a:8000"]}, "`repository` is missing"),
        ({"urls": ["a:8000"], "repository": "/r"}, "expected http://HOST:PORT"),
        ({"urls": ["http://a:8000/path"], "repository": "/r"}, "expected http://HOST:PORT"),
        ({"urls": ["http://me:secret@a:8000"], "repository": "/r"}, "holds no password"),
        ({"urls": ["http://a:8000", "http://a:8000/"], "repository": "/r"}, "stands there twice"),
        (
            {"urls": ["http://a:8000"], "repository": "/r", "secret": "hunter2hunter2"},
            "not the secret itself",
        ),
        ({"urls": ["http://a:8000"], "repository": "/r", "header": "a: b"}, "String should match"),
    ],
)
def test_wrong_settings_of_servers_elsewhere_are_refused(external: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        ServingSettings.model_validate({"external": external})


def test_servers_elsewhere_win_over_one_of_this_machine(workspace: Workspace) -> None:
    external = {"urls": ["http://a:8000", "http://b:8000"], "repository": "/r"}
    for server, kind in (("auto", "external"), ("triton", "external"), ("in-process", "in-process")):
        serving = ServingSettings.model_validate({"external": external, "server": server})
        choice = choose(Workspace(load_settings(home=workspace.root, serving=serving)), LINUX)
        assert choice.kind == kind
