"""systemd units: written with the settings in force, quoted, checked by systemd where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opswright.core.errors import BackendError
from opswright.core.settings import load_settings
from opswright.core.settings.serving import ServingSettings
from opswright.core.workspace import Workspace
from opswright.serving import systemd
from opswright.serving.systemd import install, unit_name


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One whose path holds what systemd would expand."""
    serving = ServingSettings.model_validate({"auth_token": 'a "quoted" \\ token', "gateway_port": 8711})
    return Workspace(load_settings(home=tmp_path / "my $HOME 100%i" / ".opswright", serving=serving))


def test_a_unit_runs_the_supervisor_of_its_workspace_and_expands_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    unit = install(workspace, tmp_path / "units")
    text = unit.path.read_text()
    assert f'"opswright.serving.supervisor" "--home" "{tmp_path}/my $$HOME 100%%i/.opswright"' in text
    assert "Restart=on-failure" in text and "WantedBy=default.target" in text
    assert unit.path.name == f"{unit_name(workspace)}.service"
    assert f"systemctl --user enable --now {unit.path.name}" in unit.next_commands


def test_its_settings_lie_in_a_file_that_only_its_owner_may_read_and_not_in_the_unit(
    workspace: Workspace, tmp_path: Path
) -> None:
    unit = install(workspace, tmp_path / "units", system=True)
    said = unit.environment.read_text()
    assert 'OPSWRIGHT_SERVING__AUTH_TOKEN="a \\"quoted\\" \\\\ token"' in said
    assert 'OPSWRIGHT_SERVING__GATEWAY_PORT="8711"' in said
    assert unit.environment.stat().st_mode & 0o077 == 0
    assert "token" not in unit.path.read_text()


@pytest.mark.parametrize("system", [False, True])
def test_systemd_accepts_the_unit(workspace: Workspace, tmp_path: Path, system: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not run: systemd-analyze missing (apt-get install systemd)")
    assert install(workspace, tmp_path / "units", system=system).is_checked


def test_a_unit_that_systemd_does_not_take_is_not_left(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not run: systemd-analyze missing (apt-get install systemd)")
    monkeypatch.setattr(systemd, "_UNIT", systemd._UNIT.replace("ExecStart={command}", "ExecStart=/no/such"))
    with pytest.raises(BackendError, match="not executable"):
        install(workspace, tmp_path / "units")
    assert list((tmp_path / "units").iterdir()) == []


def test_units_of_two_workspaces_have_two_names(tmp_path: Path) -> None:
    names = {
        unit_name(Workspace(load_settings(home=tmp_path / name / "shop" / ".opswright"))) for name in "ab"
    }
    assert len(names) == 2
    assert all(name.startswith("opswright-shop-") for name in names)
