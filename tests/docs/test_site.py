"""The site as `make site` makes it: without a warning, whole, searched without a server, on a phone too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opswright

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(opswright.__file__).resolve().parent
SITE = ROOT / "build" / "site"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site() -> Path:
    made = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "site" / "build.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return SITE


@pytest.fixture
def page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
        yield context.new_page()
        browser.close()


def test_it_is_made_without_a_warning_and_asks_no_other_server_for_anything(site: Path) -> None:
    for name in (
        "index",
        "tutorials/team",
        "guide/plans",
        "reference/curate",
        "reference/settings",
        "python",
    ):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text
    assert "NotebookWorkspace" in (site / "python.html").read_text(encoding="utf-8")
    assert "opswright approvals approve" in (site / "reference/command-line.html").read_text(encoding="utf-8")
    guides = {path.stem for path in (ROOT / "docs" / "guide").glob("*.md")}
    index = (site / "index.html").read_text(encoding="utf-8")
    assert [name for name in sorted(guides) if f'href="guide/{name}.html"' not in index] == []


def test_search_finds_a_page_offline(site: Path, page: Page) -> None:
    page.goto(f"{(site / 'search.html').as_uri()}?q=rollback")
    found = page.locator("#search-results li a").first
    found.wait_for()
    assert page.locator("#search-results li").count() > 1


def test_no_page_scrolls_sideways_on_a_phone(site: Path, page: Page) -> None:
    wide = []
    for path in ("index", "notebooks/workspace", "guide/policy", "reference/settings", "python", "promises"):
        page.goto((site / f"{path}.html").as_uri())
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(path)
    assert wide == []
