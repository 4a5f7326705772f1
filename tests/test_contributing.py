"""CONTRIBUTING leads to files that are there, and its recipes name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import opswright

ROOT = Path(opswright.__file__).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_path_it_names_exists() -> None:
    paths = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-zA-Z_0-9.]*)`", TEXT))
    assert len(paths) > 10
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_every_name_it_gives_stands_in_the_code() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("[a-z]*/**/*.py"))
    names = set(re.findall(r"`@?([A-Z][A-Za-z]+|[A-Z]{3,})`", TEXT)) - {"CHANGELOG"}
    assert len(names) > 6
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", code)) == []
