"""Sources on a web server that does as it likes: a real one, on this machine."""

from __future__ import annotations

import gzip
import resource
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from opswright.core.errors import AskError, BackendError, NeedsError
from opswright.data.remote import RemoteSource, fetch

pytest.importorskip("aiohttp")
ROW = b'{"text": "a", "label": "b"}\n'
BOMB = gzip.compress(ROW * 600_000)  # 17 MB of rows in some 40 kB


class Server(ThreadingHTTPServer):
    """Gives `body`, compressed or not, and tells of a length in answer to HEAD."""

    body, is_compressed = ROW, False
    told_bytes: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    def source(self, name: str = "rows.jsonl") -> RemoteSource:
        return RemoteSource.checked(f"http://127.0.0.1:{self.server_port}/{name}")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.send_response(200)
        if self.server.told_bytes is not None:
            self.send_header("Content-Length", str(self.server.told_bytes))
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        if self.server.is_compressed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
        except ConnectionError:
            return  # the other side had enough

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def test_a_file_that_is_compressed_on_its_way_is_kept_as_it_is(server: Server, tmp_path: Path) -> None:
    server.body, server.is_compressed = gzip.compress(ROW * 1000), True
    assert fetch(server.source(), tmp_path).path.read_bytes() == ROW * 1000


def test_a_reply_that_grows_beyond_what_the_server_said_is_stopped_there(
    server: Server, tmp_path: Path
) -> None:
    server.body, server.is_compressed, server.told_bytes = BOMB, True, len(BOMB)
    seen: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(BackendError, match=rf"more than the {len(BOMB):,} bytes .* said"):
            fetch(server.source(), tmp_path, seen=seen.append)
        assert sum(seen) <= len(BOMB)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # nor was it unpacked in memory
    finally:
        tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_reply_that_unpacks_without_end_does_not_fill_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body, server.is_compressed = BOMB, True
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(NeedsError, match="no space left on the disk while fetching http://"):
        fetch(server.source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_larger_than_files_may_be_here_is_not_called_out_of_reach(
    server: Server, tmp_path: Path
) -> None:
    server.body = ROW * 4000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(NeedsError, match=r"too large .* while fetching http://.*ulimit -f"):
            fetch(server.source(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_name_is_too_long_for_the_disk_is_kept_under_a_shorter_one(
    server: Server, tmp_path: Path
) -> None:
    found = fetch(server.source("b" * 300 + ".jsonl"), tmp_path)
    assert found.path.read_bytes() == ROW and found.path.suffix == ".jsonl"
    assert len(found.path.name.encode()) <= 255


def test_a_folder_that_cannot_take_such_names_is_named(server: Server, tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 3700:
        deep = deep / ("d" * 200)
    with pytest.raises(AskError, match=r"name is too long .* while fetching http://"):
        fetch(server.source("b" * 230 + ".jsonl"), deep / ("e" * 200))
