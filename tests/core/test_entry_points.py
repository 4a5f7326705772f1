"""What installed packages bring: looked up once, and again when a package comes or goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from opswright.core import entry_points


def install(folder: Path, name: str, group: str) -> Path:
    made = folder / f"{name}-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text(f"[console_scripts]\nx = a:b\n\n[{group}]\n{name} = {name}:make\n")
    return made


def test_a_package_is_seen_when_it_comes_and_gone_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    group = "opswright.a_group_of_this_test"
    assert entry_points.entry_points_of(group) == []
    made = install(tmp_path, "mine", group)
    assert [point.value for point in entry_points.entry_points_of(group)] == ["mine:make"]
    shutil.rmtree(made)
    assert entry_points.entry_points_of(group) == []


def test_files_are_not_read_again_while_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "mine", "opswright.another_group")
    entry_points.entry_points_of("opswright.nobody_brings_this")

    def not_again(*_: object, **__: object) -> str:
        raise AssertionError("a file was read again")

    monkeypatch.setattr(Path, "read_text", not_again)
    assert entry_points.entry_points_of("opswright.nobody_brings_this") == []
