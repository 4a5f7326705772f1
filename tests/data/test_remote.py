"""Sources that lie elsewhere: addresses, what is fetched of them, and that it stays what it was."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError, HeldError, IntegrityError, NeedsError
from opswright.core.files import sha256_path
from opswright.data.hub import why_not
from opswright.data.remote import RemoteSource, fetch, fetched, look_up

fsspec = pytest.importorskip("fsspec")
COMMIT = "a" * 40
ROWS = b'{"text": "a", "label": "b"}\n'


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_what_is_no_address_or_holds_a_credential_is_refused() -> None:
    for good in (
        "s3://bucket/a.jsonl",
        "https://example.org/a.csv?raw=true",
        f"hf:datasets/owner/name@{COMMIT}",
        f"hf:datasets/owner/name@{COMMIT}/data/train-*.parquet",
    ):
        assert RemoteSource.is_one(good) and RemoteSource.checked(good) == good
    for bad in (
        "ftp://x/a",
        "file:///etc/passwd",
        "simplecache::s3://b/a",
        "s3://",
        "hf:owner/name",
        "hf:datasets/a",
    ):
        with pytest.raises(ValueError, match="invalid source"):
            RemoteSource.checked(bad)
    for secret in (
        "https://ann:pw@example.org/a.csv",
        "https://example.org/a.csv?X-Amz-Signature=1",
        "https://example.org/a.csv?auth=1",
        "https://example.org/a.csv#access_token=1",
        "https://example.org/a.csv?a=1;token=1",
    ):
        with pytest.raises(ValueError, match="holds a credential"):
            RemoteSource.checked(secret)
    with pytest.raises(ValueError, match="invalid source"):
        RemoteSource.checked("hf:datasets/owner/name@main/../../secret")
    assert not any(RemoteSource.is_one(path) for path in ("rows.jsonl", "/data/hf/rows.csv", "./a:b.csv", 3))


def test_an_error_that_is_told_shows_no_query_of_an_address_it_was_sent_on_to() -> None:
    signed = "https://cdn.example/rows.csv?X-Amz-Signature=SIGNED&x=1"
    for said in (f"403, message='Forbidden', url='{signed}'", f"403 for url {signed} now"):
        shown = why_not(ValueError(said))
        assert "SIGNED" not in shown and "https://cdn.example/rows.csv?..." in shown and "x=1" not in shown


def test_a_file_is_fetched_under_its_digest_and_once_when_it_is_pinned(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)
    source, digest = RemoteSource.checked("memory://bucket/rows.jsonl"), hashlib.sha256(ROWS).hexdigest()
    assert [(one.name, one.size_bytes) for one in look_up(source)] == [("rows.jsonl", len(ROWS))]
    found = fetch(source, tmp_path)
    assert (found.sha256, found.path.read_bytes(), found.path.name) == (digest, ROWS, "rows.jsonl")
    memory.rm("/bucket/rows.jsonl")
    assert fetch(source, tmp_path, digest) == found  # no longer there, but here
    assert fetched(source, tmp_path, None, None) is None  # what it holds now only the other side knows


def test_a_file_that_was_damaged_here_is_fetched_again(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)
    source = RemoteSource.checked("memory://bucket/rows.jsonl")
    found = fetch(source, tmp_path)
    found.path.write_bytes(b"something else")
    assert fetched(source, tmp_path, found.sha256, None) is None
    assert fetch(source, tmp_path, found.sha256).path.read_bytes() == ROWS


def test_another_content_than_the_plan_says_is_an_integrity_error_and_leaves_nothing(
    memory: Any, tmp_path: Path
) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)
    source = RemoteSource.checked("memory://bucket/rows.jsonl")
    with pytest.raises(IntegrityError, match="where source_sha256 is 0000"):
        fetch(source, tmp_path, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gives_its_training_rows_and_no_scripts(memory: Any, tmp_path: Path) -> None:
    for name in ("data/train-00.csv", "data/train-01.csv", "data/test-00.csv", "load.py", "README.md"):
        memory.pipe(f"/set/{name}", name.encode())
    source = RemoteSource.checked("memory://set")
    found = fetch(source, tmp_path)
    assert sorted(path.name for path in found.path.iterdir()) == ["data--train-00.csv", "data--train-01.csv"]
    assert found.sha256 == sha256_path(found.path)
    assert [one.name for one in look_up(source, "test")] == ["data--test-00.csv"]
    with pytest.raises(AskError, match=r"no files of the split 'dev' \(it has: test, train\)"):
        look_up(source, "dev")
    assert [one.name for one in look_up(RemoteSource.checked("memory://set/data/*.csv"))] == [
        "test-00.csv",
        "train-00.csv",
        "train-01.csv",
    ]
    memory.pipe("/set/data/train-02.jsonl", b"{}")
    with pytest.raises(AskError, match=r"several kinds \(.csv, .jsonl\)"):
        look_up(source)


def test_files_that_would_overwrite_each_other_here_are_refused(memory: Any) -> None:
    memory.pipe({"/set/a/b.csv": b"text,label", "/set/a--b.csv": b"text,label"})
    with pytest.raises(AskError, match="would have one name here"):
        look_up(RemoteSource.checked("memory://set"))


def test_a_source_that_another_step_reads_is_not_taken_from_under_it(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)
    source = RemoteSource.checked("memory://bucket/rows.jsonl")
    first = fetch(source, tmp_path).path.stat().st_ino
    assert fetch(source, tmp_path).path.stat().st_ino == first


def test_nothing_there_and_nothing_to_read_are_told_apart(memory: Any) -> None:
    memory.pipe("/set/load.py", b"print()")
    with pytest.raises(AskError, match="nothing at memory://bucket/none"):
        look_up(RemoteSource.checked("memory://bucket/none.jsonl"))
    with pytest.raises(AskError, match="no file of rows"):
        look_up(RemoteSource.checked("memory://set"))


def test_a_library_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    loaded = importlib.import_module("fsspec.registry")._registry  # its memory of what was imported before
    monkeypatch.delitem(loaded, "s3", raising=False)
    with pytest.raises(NeedsError, match=r"needs s3fs. Install: .*remote.* s3fs"):
        look_up(RemoteSource.checked("s3://bucket/rows.jsonl"))


def test_a_file_that_ends_early_is_not_taken_for_whole(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)
    source = RemoteSource.checked("memory://bucket/rows.jsonl")

    class Short(type(memory)):  # type: ignore[misc]
        def info(self, path: str, **more: Any) -> Any:
            return {**super().info(path, **more), "size": len(ROWS) + 1}

    fsspec.register_implementation("memory", Short, clobber=True)
    try:
        with pytest.raises(BackendError, match="ended after"):
            fetch(source, tmp_path)
    finally:
        fsspec.register_implementation("memory", type(memory), clobber=True)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_is_stopped_leaves_nothing(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/rows.jsonl", ROWS)

    def stop(size: int) -> None:
        raise HeldError("a person stopped it")

    with pytest.raises(HeldError):
        fetch(RemoteSource.checked("memory://bucket/rows.jsonl"), tmp_path, seen=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_reply_that_does_not_say_where_it_ends_does_not_fill_the_disk(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/endless/rows.jsonl", ROWS)
    known = memory.info
    monkeypatch.setattr(type(memory), "info", lambda self, path, **more: {**known(path), "size": None})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(NeedsError, match="no space left on the disk while fetching"):
        fetch(RemoteSource.checked("memory://endless/rows.jsonl"), tmp_path)
    assert list(tmp_path.iterdir()) == []
