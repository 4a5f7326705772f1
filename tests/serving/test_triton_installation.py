"""Where Triton's server is looked for, and what counts as installed."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from opswright.core.errors import NeedsError
from opswright.core.files import canonical_json
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving.server_selection import triton_home
from opswright.serving.triton import installation
from opswright.serving.triton.environment import is_ready
from opswright.ui.cli import run


def written(home: Path) -> Path:
    """A folder that looks like an installed server."""
    folder = installation.server_folder(home)
    (folder / "packages" / "pytriton").mkdir(parents=True)
    (folder / "packages" / "pytriton" / "server.so").write_bytes(b"code")
    (folder / "backends").mkdir()
    (folder / "backends" / "stub").symlink_to("../packages/pytriton/server.so")
    (folder / "ready.json").write_bytes(canonical_json(installation._contents(folder)))
    return folder


def earlier(workspace: Workspace, **changed: object) -> Path:
    """An environment as an earlier version made one for each workspace."""
    made = {
        "wheels": ["nvidia-pytriton==0.7.0", "numpy==1.26.4"],
        "python": sys.version,
        "packages": sysconfig.get_path("purelib"),
    }
    folder = workspace.root / "triton-server" / "pytriton-py{}.{}".format(*sys.version_info[:2])
    folder.mkdir(parents=True)
    (folder / "ready.json").write_bytes(canonical_json({**made, **changed}))
    return folder


def test_every_workspace_finds_the_one_of_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPSWRIGHT_SERVING__TRITON_HOME", raising=False)
    homes = {triton_home(Workspace(load_settings(home=tmp_path / name))) for name in ("one", "two")}
    assert homes == {tmp_path / "cache" / "opswright"}
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert installation.shared_home() == Path.home() / ".cache" / "opswright"


def test_settings_name_another_place(tmp_path: Path) -> None:
    serving = ServingSettings(triton_home=tmp_path / "elsewhere")
    workspace = Workspace(load_settings(home=tmp_path / "one", serving=serving))
    earlier(workspace)
    assert triton_home(workspace) == tmp_path / "elsewhere"


def test_a_workspace_goes_on_with_the_environment_it_has(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPSWRIGHT_SERVING__TRITON_HOME", raising=False)
    assert triton_home(workspace) == installation.shared_home()
    folder = earlier(workspace)
    assert triton_home(workspace) == folder.parent and is_ready(folder.parent)


@pytest.mark.parametrize("changed", [{"python": "3.10.1"}, {"wheels": ["numpy==1.0"]}, {"packages": "/else"}])
def test_an_environment_for_something_else_is_left_alone(
    workspace: Workspace, changed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPSWRIGHT_SERVING__TRITON_HOME", raising=False)
    earlier(workspace, **changed)
    assert triton_home(workspace) == installation.shared_home()


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "ready.json").unlink(),
        lambda folder: (folder / "ready.json").write_bytes(b"{"),
        lambda folder: (folder / "packages" / "pytriton" / "server.so").unlink(),
        lambda folder: (folder / "packages" / "pytriton" / "server.so").write_bytes(b"co"),
        lambda folder: (folder / "backends" / "stub").unlink(),
        lambda folder: (folder / "packages" / "more.py").write_text("import os"),
    ],
)
def test_what_is_not_whole_does_not_count(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    assert not installation.is_installed(tmp_path)
    folder = written(tmp_path)
    assert installation.is_installed(tmp_path)
    (folder / "packages" / "__pycache__").mkdir()
    (folder / "packages" / "__pycache__" / "compiled.pyc").touch()
    assert installation.is_installed(tmp_path), "what Python compiles is no harm"
    harm(folder)
    assert not installation.is_installed(tmp_path)


def test_other_pins_are_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path)
    monkeypatch.setattr(installation, "pins", lambda: ("nvidia-pytriton==0.8.0",))
    assert installation.server_folder(tmp_path) != folder
    assert not installation.is_installed(tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NeedsError, match=r"cannot be installed into .*TRITON_HOME"):
        installation.install(tmp_path / "file" / "home", print)


def test_a_lent_python_that_lost_its_packages_is_made_again(tmp_path: Path) -> None:
    bin_folder = installation.lent_python(tmp_path, tmp_path / "packages")
    (lending,) = bin_folder.parent.glob("lib/*/site-packages/_lent.pth")
    assert lending.read_text().splitlines() == [str(tmp_path / "packages"), sysconfig.get_path("purelib")]
    lending.unlink()
    assert installation.lent_python(tmp_path, tmp_path / "packages") == bin_folder
    assert lending.is_file() and (bin_folder / "python3").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [bin_folder.parent.name]


def test_where_the_server_cannot_run_an_optional_install_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert run(["install", "triton", "--optional", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["installed"] is False
    assert run(["install", "triton"]) == 1
    assert "this is Linux on aarch64" in capsys.readouterr().err
