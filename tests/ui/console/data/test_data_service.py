"""The page "Data" without a browser: who may write, which files are read, and what hostile data shows as."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from opswright.core.errors import AskError, HeldError
from opswright.core.settings import Role
from opswright.data.profile import Lengths
from opswright.ui.console.auth.users import Person
from opswright.ui.console.chat.chat_service import ChatService
from opswright.ui.console.console import Console
from opswright.ui.console.data.data_service import DataService, Wish
from opswright.ui.console.data.plots import histogram, label_bars
from opswright.ui.console.uploads import as_one

HOSTILE = "<b onclick=x>\"'</b>"


@pytest.fixture
def chat(console: Console) -> Iterator[ChatService]:
    service = ChatService(console)
    yield service
    service.close()


@pytest.fixture
def data(console: Console, chat: ChatService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataService:
    monkeypatch.chdir(tmp_path)
    return DataService(console, chat)


ADA, EVE = Person("ada", Role.RELEASER), Person("eve", Role.VIEWER)


def brought(data: DataService, folder: Path, name: str = "rows.jsonl", first: int = 0, n: int = 90) -> str:
    """The name under which some uploaded rows are kept."""
    inbox = folder / "inbox"
    inbox.mkdir(exist_ok=True)
    rows = [
        {"text": f"{HOSTILE} number {i}", "label": HOSTILE if i % 2 else "plain", HOSTILE: HOSTILE}
        for i in range(first, first + n)
    ]
    (inbox / "blob").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(data.keep(ADA, inbox / "blob", name, inbox)["file"])


def wish(*train: str, columns: object = None, held_out: tuple[str, ...] = ()) -> Wish:
    return Wish.of({"train": list(train), "held_out": list(held_out), "task": None, "columns": columns})


def test_markup_in_cells_labels_and_column_names_is_shown_as_text(
    data: DataService, ada: Person, tmp_path: Path
) -> None:
    html = data.look(ada, wish(brought(data, tmp_path)))["html"]
    assert "<b onclick" not in html and html.count("&lt;b onclick=x&gt;") >= 5
    assert 'data-act="write"' in html


def test_a_column_whose_name_turns_text_around_is_shown_escaped_and_can_be_mapped(
    data: DataService, ada: Person, tmp_path: Path
) -> None:
    name = "\u202etxet'\""
    (tmp_path / "blob").write_text(
        "".join(json.dumps({name: f"row {i}", "b": f"say {i % 2}"}) + "\n" for i in range(90))
    )
    file = str(data.keep(ada, tmp_path / "blob", "odd.jsonl", tmp_path)["file"])
    html = data.look(ada, wish(file))["html"]
    (sent,) = [one for one in re.findall(r"data-column='([^']*)'", html) if one != '"b"']
    assert name not in html and json.loads(sent) == name
    assert (
        "90 rows" in data.look(ada, wish(file, columns=[[json.loads(sent), "user"], ["b", "target"]]))["html"]
    )


def test_a_viewer_looks_and_writes_nothing(data: DataService, tmp_path: Path) -> None:
    files = wish(brought(data, tmp_path))
    assert 'data-act="write"' not in data.look(EVE, files)["html"]
    with pytest.raises(HeldError, match="may not write a project"):
        data.write(EVE, files, "eves")
    assert not (tmp_path / "eves").exists()


def test_what_a_viewer_uploads_is_not_kept(
    data: DataService, chat: ChatService, console: Console, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    with pytest.raises(HeldError, match="role 'viewer' may not upload a file"):
        data.keep(EVE, tmp_path / "rows.jsonl", "rows.jsonl", tmp_path)
    with pytest.raises(HeldError, match="role 'viewer' may not upload a file"):
        chat.keep(EVE, chat.new(), tmp_path / "rows.jsonl", "rows.jsonl", tmp_path)
    assert (tmp_path / "rows.jsonl").exists() and not (console.workspace.root / "files").exists()


def test_a_file_that_is_learned_from_and_held_out_is_refused(
    data: DataService, ada: Person, tmp_path: Path
) -> None:
    file, again = brought(data, tmp_path), brought(data, tmp_path, "other_test.jsonl")
    for held_out in (file, again):
        with pytest.raises(AskError, match="one file is given to learn from and held out"):
            data.look(ada, wish(file, held_out=(held_out,)))


@pytest.mark.parametrize("name", ["../lines.txt", "/etc/passwd", "..", "", "nothing.csv", "files/rows.jsonl"])
def test_only_files_that_were_uploaded_are_read(data: DataService, ada: Person, name: str) -> None:
    with pytest.raises(AskError, match="no uploaded file"):
        data.look(ada, wish(name))


def test_a_link_among_the_uploads_is_not_followed(
    data: DataService, console: Console, ada: Person, tmp_path: Path
) -> None:
    brought(data, tmp_path)
    (console.workspace.root / "files" / "key.csv").symlink_to("/etc/passwd")
    with pytest.raises(AskError, match="no uploaded file"):
        data.look(ada, wish("key.csv"))


def test_a_name_that_is_taken_writes_nothing_and_a_failed_project_leaves_nothing(
    data: DataService, ada: Person, tmp_path: Path
) -> None:
    files = wish(brought(data, tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "inbox")
    for name in ("mine", "link"):
        with pytest.raises(AskError, match="is there already"):
            data.write(ada, files, name)
    with pytest.raises(AskError, match="30 usable rows"):
        data.write(ada, wish(brought(data, tmp_path, "few.jsonl", n=30)), "few")
    assert not (tmp_path / "few").exists() and list((tmp_path / "inbox").iterdir()) == []


def test_a_project_is_written_and_proposed_also_where_a_killed_one_left_something(
    data: DataService, console: Console, ada: Person, tmp_path: Path
) -> None:
    (tmp_path / "again" / ".opswright-init-killed" / "data").mkdir(parents=True)
    file = brought(data, tmp_path, n=150)
    conversation = data.write(ada, wish(file), "again")["conversation"]
    made = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert made == ["data", "guardrails", "plans", "suites"]
    kept = (console.workspace.root / "conversations" / f"{conversation}.jsonl").read_text()
    assert "made the project again of rows.jsonl" in kept and "/plan again/plans/ship.yaml" in kept
    with pytest.raises(AskError, match="is there already"):
        data.write(ada, wish(file), "again")


def test_several_files_are_one_source_and_kinds_are_not_mixed(
    data: DataService, console: Console, ada: Person, tmp_path: Path
) -> None:
    one, two = brought(data, tmp_path, "one.jsonl"), brought(data, tmp_path, "two.jsonl", first=500)
    assert "180 rows" in data.look(ada, wish(one, two))["html"]
    folder = as_one(console.workspace, [one, two])
    assert folder == as_one(console.workspace, [one, two]) and len(list(folder.iterdir())) == 2
    with pytest.raises(AskError, match="of one kind"):
        data.look(ada, wish(one, brought(data, tmp_path, "three.csv")))
    with pytest.raises(AskError, match="name a file to learn from"):
        data.look(ada, wish(held_out=(one,)))


def test_corrections_are_taken_whole_and_wrong_ones_are_said(
    data: DataService, ada: Person, tmp_path: Path
) -> None:
    file = brought(data, tmp_path)
    html = data.look(ada, wish(file, columns=[["text", "target"], ["label", "user"], [HOSTILE, "unused"]]))[
        "html"
    ]
    assert "task generate" in html
    with pytest.raises(AskError, match="both taken for user"):
        data.look(ada, wish(file, columns=[["text", "user"], ["label", "user"]]))
    with pytest.raises(AskError, match="no part of a row"):
        data.look(ada, wish(file, columns=[["text", "password"]]))
    with pytest.raises(TypeError):
        Wish.of({"train": "rows.jsonl", "held_out": []})


def test_the_bars_hold_every_text_and_the_labels_that_have_none_are_counted() -> None:
    from array import array

    found = Lengths.of(array("l", [*range(40, 140), 900]))
    bars = histogram(found.bins).bars
    assert sum(n for _, n in found.bins) == 101 and found.bins[-1][0] == 900
    assert max(bar.height for bar in bars) > 100 and all(bar.height >= 0 for bar in bars)
    assert Lengths.of(array("l", [7, 7])).bins == ((7, 2),)
    shown = label_bars([(str(i), 50 - i) for i in range(30)])
    assert (len(shown.bars), shown.left_out, shown.bars[-1].name) == (20, 10, "29")
