"""A data set of a hub, and a file of a web server: the clients are the real ones, the server is local.

The hub's client reads its settings when it is imported, so it runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError, NeedsError
from opswright.data.remote import RemoteSource, fetch

COMMIT = "a" * 40
ROWS = b'{"text": "a", "label": "b"}\n'
FILES = {"data/train-0.jsonl": ROWS, "data/test-0.jsonl": b"{}\n", "name.py": b"raise SystemExit"}
ASK = """
import json, sys
from pathlib import Path
from opswright.core.errors import AskError, NeedsError
from opswright.data.remote import RemoteSource, fetch, look_up
source, store = RemoteSource.checked(sys.argv[2]), Path(sys.argv[3])
try:
    if sys.argv[1] == "look":
        told = [list(one[::2]) for one in look_up(source)]
    else:
        found = fetch(source, store)
        told = {"text": found.path.read_text(), "sha256": found.sha256}
except (AskError, NeedsError) as error:
    told = {"family": type(error).__name__, "message": str(error)}
print(json.dumps(told))
"""


class FakeHub(BaseHTTPRequestHandler):
    """The part of a hub's interface that reading a data set takes."""

    asked: list[str]
    short: bool

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send([])

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path == "/rows.jsonl":
            return self.send(ROWS)
        revision = f"/api/datasets/good/name/revision/{COMMIT}"
        if path in (revision, "/api/datasets/good/name/revision/main", "/api/datasets/good/name"):
            return self.send({"id": "good/name", "sha": COMMIT, "siblings": []})
        if path.startswith(f"/api/datasets/good/name/tree/{COMMIT}"):
            return self.send(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in FILES.items()
                ]
            )
        if path.startswith(f"/datasets/good/name/resolve/{COMMIT}/"):
            data = FILES[path.partition(f"{COMMIT}/")[2]]
            return self.send(data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound" if "/good/name" in path else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, what: Any, headers: dict[str, str] | None = None) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        first, last = 0, len(data) - 1
        if asked := self.headers.get("Range"):
            bounds = asked.removeprefix("bytes=").split("-")
            first, last = int(bounds[0]), min(last, int(bounds[1] or last))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[first : last + 1][: 10 if self.short else None])

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    handler = type("Hub", (FakeHub,), {"asked": [], "short": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(hub: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{hub.server_address[1]}"


def ask(action: str, source: str, store: Path, endpoint: str, **env: str) -> Any:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(store / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, action, source, str(store / "sources")],
        capture_output=True,
        text=True,
        env={**inherited, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "", **settings, **env},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_pinned_data_set_is_fetched_once_its_training_rows_alone_and_no_script(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    name = f"hf:datasets/good/name@{COMMIT}"
    handler: Any = hub.RequestHandlerClass
    assert ask("look", name, tmp_path, address(hub)) == [["data--train-0.jsonl", len(ROWS)]]
    found = ask("get", name, tmp_path, address(hub))
    assert found == {"text": ROWS.decode(), "sha256": hashlib.sha256(ROWS).hexdigest()}
    assert not any("name.py" in one for one in handler.asked)
    handler.asked.clear()
    assert ask("get", name, tmp_path, address(hub), HF_HUB_OFFLINE="1") == found and handler.asked == []
    part = ask("get", f"{name}/data/test-0.jsonl", tmp_path, address(hub))
    assert part["text"] == "{}\n"


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("hf:datasets/good/name", "AskError", f"names no commit.*hf:datasets/good/name@{COMMIT}: write that"),
        (f"hf:datasets/good/name@{'b' * 40}", "AskError", "has no revision"),
        (f"hf:datasets/no/such@{COMMIT}", "AskError", "not found at"),
    ],
)
def test_what_a_hub_does_not_have_is_said_in_words(
    hub: ThreadingHTTPServer, tmp_path: Path, name: str, family: str, message: str
) -> None:
    told = ask("look", name, tmp_path, address(hub))
    assert told["family"] == family and re.search(message, told["message"]), told


def test_offline_it_says_so(tmp_path: Path) -> None:
    told = ask("look", f"hf:datasets/good/name@{COMMIT}", tmp_path, "http://127.0.0.1:9")
    assert told["family"] == "NeedsError"
    assert re.search("cannot be reached.*or give a local file", told["message"])


def test_a_file_of_a_web_server_is_fetched_and_one_that_ends_early_is_not_taken_for_whole(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    source = RemoteSource.checked(f"{address(hub)}/rows.jsonl")
    assert fetch(source, tmp_path).path.read_bytes() == ROWS
    handler: Any = hub.RequestHandlerClass
    handler.short = True
    with pytest.raises((BackendError, NeedsError)):
        fetch(source, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
    with pytest.raises(AskError, match="there is nothing at"):
        fetch(RemoteSource.checked(f"{address(hub)}/none.jsonl"), tmp_path)
    with pytest.raises(NeedsError, match="cannot be reached"):
        fetch(RemoteSource.checked("http://127.0.0.1:9/rows.jsonl"), tmp_path)
