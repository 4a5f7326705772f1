"""What a person brings is kept as a file of a known kind, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.ui.console.uploads import keep


def received(folder: Path, text: str = "goal: x\n") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "blob"
    path.write_text(text)
    return path


def test_a_file_is_kept_under_a_plain_name_and_another_of_that_name_beside_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    first = keep(workspace, received(folder), "../../my plan.yaml", folder, 1000)
    assert first == workspace.root / "files" / "my_plan.yaml" and first.stat().st_mode & 0o777 == 0o600
    assert keep(workspace, received(folder), "my plan.yaml", folder, 1000) == first
    other = keep(workspace, received(folder, "goal: y\n"), "my plan.yaml", folder, 1000)
    assert other.name.startswith("my_plan-") and first.read_text() == "goal: x\n"


@pytest.mark.parametrize("name", ["run.py", "run.sh", "x", "model.pkl", ".yaml", "page.html"])
def test_other_kinds_are_refused(workspace: Workspace, tmp_path: Path, name: str) -> None:
    with pytest.raises(AskError, match="unsupported file type"):
        keep(workspace, received(tmp_path / "in"), name, tmp_path / "in", 1000)


def test_a_file_from_elsewhere_or_too_large_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(AskError, match="not uploaded to this console"):
        keep(workspace, Path("/etc/passwd"), "a.txt", tmp_path / "in", 1000)
    link = received(tmp_path / "in")
    link.unlink()
    link.symlink_to("/etc/passwd")
    with pytest.raises(AskError, match="not uploaded to this console"):
        keep(workspace, link, "a.txt", tmp_path / "in", 10_000_000)
    link.unlink()
    with pytest.raises(AskError, match="too large"):
        keep(workspace, received(tmp_path / "in", "x" * 2000), "a.txt", tmp_path / "in", 1000)
