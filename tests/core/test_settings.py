"""One tree of settings: the file, the environment and the flags."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opswright.core.errors import AskError, NeedsError, from_os_error
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("opswright.toml").write_text('actor = "file"\nrole = "viewer"\n[train]\nthreads = 4\n')
    assert (load_settings().actor, load_settings().train.threads) == ("file", 4)
    monkeypatch.setenv("OPSWRIGHT_ACTOR", "env")
    monkeypatch.setenv("OPSWRIGHT_TRAIN__THREADS", "8")
    assert (load_settings().actor, load_settings().train.threads) == ("env", 8)
    assert load_settings(actor="flag").actor == "flag" and load_settings(role=None).role == "viewer"


@pytest.mark.parametrize("text", ['rol = "viewer"\n', "[train]\nthreads = 0\n"])
def test_a_wrong_setting_is_named(text: str) -> None:
    Path("opswright.toml").write_text(text)
    with pytest.raises(AskError, match="a setting is wrong"):
        load_settings()


def test_telemetry_is_off_for_every_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_DISABLE_TELEMETRY", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    load_settings()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_mlflow_is_the_workspaces_own_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings(home=tmp_path / "w").tracking_uri() == f"sqlite:///{tmp_path / 'w' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert load_settings().tracking_uri() == "http://127.0.0.1:1"


def test_a_lock_of_the_workspace_keeps_others_out(workspace: Workspace) -> None:
    from filelock import Timeout

    with workspace.lock("x"), pytest.raises(Timeout), workspace.lock("x", timeout_s=0.05):
        pass


def test_errors_of_the_system_say_what_to_do() -> None:
    full = from_os_error(OSError(28, "No space left on device", "data.bin"), "saving a dataset")
    assert isinstance(full, NeedsError) and "no space left" in str(full) and "data.bin" in str(full)
    taken = from_os_error(OSError(98, "Address already in use"), "starting the gateway")
    assert isinstance(taken, NeedsError) and "port is already in use" in str(taken)
    assert isinstance(from_os_error(FileNotFoundError(2, "no", "x.csv"), "reading"), AskError)


@pytest.mark.parametrize(
    ("content", "planner", "message"),
    [
        (b"[planner", None, "opswright.toml is not TOML"),
        (b"\xff\xfe", None, "opswright.toml is not TOML"),
        (b"", "{kind: llm", "OPSWRIGHT|planner"),
    ],
)
def test_settings_that_cannot_be_read_are_the_askers_to_mend(
    content: bytes, planner: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opswright.toml").write_bytes(content)
    if planner is not None:
        monkeypatch.setenv("OPSWRIGHT_PLANNER", planner)
    with pytest.raises(AskError, match=message):
        load_settings()
