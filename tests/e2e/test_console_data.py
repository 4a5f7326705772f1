"""The page "Data" in a real browser: files become a profile, the profile a project, its plan a run."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>${1+1}{{value}}"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, make_console: Callable[..., Any]) -> Iterator[Any]:
    """A console in a folder without anything; each test makes a project of its own there."""
    server = make_console(tmp_path_factory.mktemp("home"), OPSWRIGHT_SERVING__GATEWAY_PORT="0")
    server.start()
    yield server
    server.stop()


def repairs(folder: Path, n: int = 240) -> Path:
    """Complaints with the reply each got: another task than the shipped examples, under unusual names."""
    draw, things = random.Random(3), ("pump", "valve", "motor", "sensor", "belt", "fan")
    path = folder / "repairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["complaint", "fix", "label", HOSTILE])
        for i in range(n):
            thing, site = draw.choice(things), draw.randint(1, 90)
            rows.writerow([f"the {thing} of unit {i} leaks", f"replace {thing} {i}", f"site {site}", HOSTILE])
    return path


def open_page(page: Page, url: str) -> None:
    page.goto(f"{url}/data")
    page.wait_for_selector("#data-page[data-ready], #data-page [data-ready]", state="attached")


def upload(page: Page, *files: Path) -> None:
    """Bring files and wait for what is said of them."""
    page.locator("#data-page input[type=file]").set_input_files(files)
    page.wait_for_selector("#columns, #data-page .fault:not(:empty)")


def take(page: Page, **parts: str) -> None:
    """Say what columns are taken for, and look again."""
    for column, part in parts.items():
        page.get_by_label(f"{column} is taken for").select_option(part)
    page.click("[data-act=again]")
    page.wait_for_selector("[data-act=again]:disabled")
    page.wait_for_function("!document.querySelector('#data-page .busy').textContent")


def test_a_csv_becomes_a_profile_that_is_corrected_a_project_and_a_run(
    tmp_path: Path, console: Any, page: Page
) -> None:
    from playwright.sync_api import expect

    source = repairs(tmp_path)
    folder = console.folder
    open_page(page, console.url)
    upload(page, source)
    assert page.get_by_label("complaint is taken for").input_value() == "unused"
    take(page, complaint="user", fix="target", label="tags")
    shown = page.locator("#data-page .found").inner_text()
    assert "240 rows, task generate" in shown and "a base of 8 B parameters" in shown
    assert HOSTILE in page.locator("#columns").inner_text() and page.title() != "owned"
    assert page.locator("#columns").locator("img, script").count() == 0
    assert page.locator("#data-page svg").count() == 2

    page.fill("input[data-name]", "repair-desk")
    page.click("[data-act=write]")
    page.wait_for_url("**/?c=*")
    page.wait_for_selector(".card.waiting")
    plan = yaml.safe_load((folder / "repair-desk" / "plans" / "ship.yaml").read_text())
    columns = plan["steps"]["data"]["with"]["columns"]
    assert (columns["user"], columns["target"], columns["tags"]) == ("complaint", "fix", {"label": "label"})
    said = page.locator("#chat-page .log")
    expect(said).to_contain_text("made the project repair-desk of repairs.csv")
    expect(said).to_contain_text("can see a drop of")
    page.click("[data-act=approve]")
    page.wait_for_selector(".step[data-step=data] >> text=done")
    page.click("[data-act=stop]")
    page.wait_for_selector(".card.stopped, .card.failed")


def test_files_to_learn_from_are_joined_and_leaks_into_the_held_out_one_are_counted(
    tmp_path: Path, console: Any, page: Page
) -> None:
    draw = random.Random(5)
    texts = [" ".join("".join(draw.choices("abdefgiklmnoprstu", k=6)) for _ in range(5)) for _ in range(180)]
    lines = [json.dumps({"text": text, "label": "ab"[i % 2]}) for i, text in enumerate(texts)]
    for name, part in (("one", lines[:80]), ("two", lines[80:150]), ("three_test", [*lines[150:], lines[3]])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
    open_page(page, console.url)
    upload(page, *(tmp_path / f"{name}.jsonl" for name in ("one", "two", "three_test")))
    page.wait_for_selector("#facts")
    shown = page.locator("#data-page .found").inner_text()
    assert "150 rows, task classify" in shown and "1 row: verbatim 1" in shown
    assert page.locator("#labels rect").count() == 2


def test_a_project_is_never_written_over_and_what_cannot_be_read_is_said(
    tmp_path: Path, console: Any, page: Page
) -> None:
    source = repairs(tmp_path)
    (console.folder / "desk").mkdir()
    (console.folder / "desk" / "mine.txt").write_text("mine")
    open_page(page, console.url)
    upload(page, source)
    take(page, complaint="user", fix="target")
    for name, message in (("desk", "is there already"), ("../out", "is no name for an endpoint")):
        page.fill("input[data-name]", name)
        page.click("[data-act=write]")
        page.wait_for_function(
            "says => document.querySelector('#data-page .fault').innerText.includes(says)", arg=message
        )
    assert [path.name for path in (console.folder / "desk").iterdir()] == ["mine.txt"]
    assert not (console.folder.parent / "out").exists()
    page.reload()
    page.wait_for_selector("#data-page[data-ready], #data-page [data-ready]", state="attached")
    (tmp_path / "broken.json").write_text("{not json")
    upload(page, tmp_path / "broken.json")
    assert "broken.json" in page.locator("#data-page .fault").inner_text()
