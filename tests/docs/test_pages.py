"""The pages: their links lead somewhere, and the settings that they name are settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import opswright
from opswright.core.settings import Settings, load_settings

ROOT = Path(opswright.__file__).resolve().parent
TOML = re.compile(r"^```toml[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\bOPSWRIGHT_[A-Z0-9_]+\b")
NOT_SETTINGS = ("OPSWRIGHT_HOME", "OPSWRIGHT_TEST_")


@pytest.fixture(scope="module")
def pages(load_script: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load_script(ROOT / "docs" / "site" / "pages.py", "site_pages")


def markdown() -> list[Path]:
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    return [*found, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/*.md"))]


def test_no_link_is_dead(pages: ModuleType) -> None:
    dead, count = [], 0
    for page in markdown():
        for link in pages.links_of(page.read_text(encoding="utf-8")):
            count += 1
            try:
                pages.target_of(page, link)
            except pages.DeadLinkError as error:
                dead.append(str(error))
    assert dead == []
    assert count > 150


def test_a_dead_link_a_dead_heading_and_a_file_beyond_the_repository_are_noticed(pages: ModuleType) -> None:
    page = ROOT / "docs" / "guide" / "plans.md"
    text = (
        "[a](nothing.md) [b](gates.md#nothing) [c](../../../elsewhere.md) `[d](code.md)` [e](https://x.org)"
    )
    found = list(pages.links_of(text))
    assert [link.path for link in found] == ["nothing.md", "gates.md", "../../../elsewhere.md"]
    for link in found:
        with pytest.raises(pages.DeadLinkError):
            pages.target_of(page, link)


def test_every_guide_and_decision_is_a_page_of_the_site(pages: ModuleType) -> None:
    places = pages.repository_pages()
    docs = ROOT / "docs"
    assert {p for p in docs.rglob("*.md") if "site" not in p.parts} <= {path.resolve() for path in places}
    assert len(set(places.values())) == len(places)


def settings_boxes() -> list[tuple[str, str]]:
    """Each box of settings, with its page; a package's own project file is none."""
    found = []
    for page in markdown():
        for text in TOML.findall(page.read_text(encoding="utf-8")):
            if "[project]" not in text:
                found.append((f"{page.relative_to(ROOT)}: {text[:60]!r}", text))
    return found


def test_every_setting_that_a_page_shows_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, boxes = [], settings_boxes()
    for where, text in boxes:
        tomllib.loads(text)
        (tmp_path / "opswright.toml").write_text(text, encoding="utf-8")
        try:
            load_settings(home=tmp_path / "ws")
        except Exception as error:
            wrong.append(f"{where}: {error}")
    assert wrong == []
    assert len(boxes) > 8


def names(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield "__".join([*path, name]).upper()
        kinds: list[Any] = [field.annotation]
        if isinstance(field.annotation, UnionType):
            kinds = list(get_args(field.annotation))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from names(kind, (*path, name))


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = {f"OPSWRIGHT_{name}" for name in names(Settings)}
    wrong = []
    for page in markdown():
        if "decisions" in page.parts:
            continue
        for name in VARIABLE.findall(page.read_text(encoding="utf-8")):
            if name not in known and not name.startswith(NOT_SETTINGS) and not name.endswith("_"):
                wrong.append(f"{page.relative_to(ROOT)}: {name}")
    assert wrong == []
