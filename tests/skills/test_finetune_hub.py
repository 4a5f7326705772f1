"""A base from a hub: pinned, looked up before anything starts, downloaded once. The hub is a local server.

The client is huggingface_hub's own, in a process of its own since it reads its settings when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opswright.core.artifact_refs import DatasetRef
from opswright.skills.finetune import FinetuneRequest
from opswright.skills.finetune.hub import HubModel

COMMIT = "a" * 40
WEIGHTS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling_own.py": b"print('code')",
    "onnx/model.json": b"{}",
}
ASK = """
import json, sys
from pathlib import Path
from opswright.core.errors import AskError, NeedsError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune.hub import HubModel, download, downloaded, look_up
workspace, model = Workspace(load_settings(home=Path(sys.argv[2]), actor="tester")), HubModel(sys.argv[3])
try:
    if sys.argv[1] == "look":
        told = look_up(model).__dict__
    else:
        folder = download(model, workspace)
        assert downloaded(model, workspace) == folder
        told = {"folder": str(folder)}
except (AskError, NeedsError) as error:
    told = {"family": type(error).__name__, "message": str(error)}
print(json.dumps(told))
"""


class FakeHub(BaseHTTPRequestHandler):
    """The part of a hub's HTTP interface that a download takes."""

    asked: list[str]
    files: dict[str, bytes]
    short: bool

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path.startswith(("/api/models/good/tiny/revision/", "/api/models/pickles/tiny/revision/")):
            if not path.endswith((COMMIT, "/main")):
                return self.refuse("RevisionNotFound", 404)
            files = self.files if "good" in path else {"pytorch_model.bin": b""}
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self.send(json.dumps({"id": "good/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        if path.startswith("/api/models/good/tiny/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            return self.send(json.dumps(tree).encode())
        if path.startswith(f"/good/tiny/resolve/{COMMIT}/"):
            data = self.files[path.partition(f"{COMMIT}/")[2]]
            etag = hashlib.sha256(data).hexdigest()
            return self.send(data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        if path.startswith("/api/models/gated/"):
            return self.refuse("GatedRepo", 403)
        if path.startswith("/api/models/broken/"):
            return self.refuse("", 500)
        return self.refuse("RepoNotFound", 404)

    def send(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def refuse(self, code: str, status: int) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    handler = type("Hub", (FakeHub,), {"asked": [], "files": dict(FILES)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(action: str, home: Path, model: str, endpoint: str, **env: str) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(home / "hf"), **env}
    done = subprocess.run(
        [sys.executable, "-c", ASK, action, str(home / "workspace"), model],
        capture_output=True,
        text=True,
        env={**inherited, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "", **settings},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def address(hub: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{hub.server_address[1]}"


def test_a_name_is_read_and_what_is_no_name_is_refused() -> None:
    model = HubModel(f"hf:owner/na.me-1B@{COMMIT}")
    assert (model.repository, model.revision, model.is_pinned) == ("owner/na.me-1B", COMMIT, True)
    assert HubModel("hf:owner/name").revision == "main" and not HubModel("hf:owner/name@v1").is_pinned
    data = DatasetRef.of("d" * 64)
    request = FinetuneRequest.model_validate({"data": data, "base": f"hf:owner/name@{COMMIT}"})
    assert isinstance(request.base, HubModel)
    assert FinetuneRequest.model_validate(request.model_dump(mode="json")) == request
    for wrong in ("hf:name", "hf:../x", "hf:a/b@../../c", "hf:a/b/c", "hf:", "hf:a/b@", "hf:a/b c"):
        with pytest.raises(ValidationError):
            FinetuneRequest.model_validate({"data": data, "base": wrong})


def test_a_pinned_model_is_looked_up_and_downloaded_once_without_code_and_pickles(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    name = f"hf:good/tiny@{COMMIT}"
    wanted = ("config.json", "tokenizer.json", "model.safetensors")
    assert ask("look", tmp_path, name, address(hub)) == {
        "commit": COMMIT,
        "size_bytes": sum(len(FILES[one]) for one in wanted),
    }
    folder = Path(ask("get", tmp_path, name, address(hub))["folder"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {one: FILES[one] for one in wanted}
    handler: Any = hub.RequestHandlerClass
    handler.asked.clear()
    assert ask("get", tmp_path, name, address(hub)) == {"folder": str(folder)}
    assert handler.asked == []


def test_a_download_that_was_cut_is_not_taken_for_a_whole_one(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    name = f"hf:good/tiny@{COMMIT}"
    handler: Any = hub.RequestHandlerClass
    weights = handler.files.pop("model.safetensors")
    handler.files["model.safetensors"] = None  # the server ends in the middle of it
    told = ask("get", tmp_path, name, address(hub))
    assert told["family"] == "NeedsError"
    handler.files["model.safetensors"] = weights
    folder = Path(ask("get", tmp_path, name, address(hub))["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("hf:good/tiny@main", "AskError", f"names no commit.*hf:good/tiny@{COMMIT}: write that"),
        ("hf:good/tiny", "AskError", "names no commit"),
        (f"hf:good/tiny@{'b' * 40}", "AskError", "has no revision"),
        (f"hf:no/such@{COMMIT}", "AskError", "not found at"),
        (f"hf:gated/tiny@{COMMIT}", "NeedsError", "is gated: accept its licence"),
        (f"hf:pickles/tiny@{COMMIT}", "AskError", "no .*safetensors weights; pickles are not loaded"),
        (f"hf:broken/tiny@{COMMIT}", "NeedsError", "answered with an error"),
    ],
)
def test_what_a_hub_does_not_have_is_said_in_words(
    hub: ThreadingHTTPServer, tmp_path: Path, name: str, family: str, message: str
) -> None:
    told = ask("look", tmp_path, name, address(hub))
    import re

    assert told.get("family") == family and re.search(message, told["message"]), told


@pytest.mark.parametrize("env", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no-server", "offline"])
def test_offline_it_says_so_before_anything_starts(tmp_path: Path, env: dict[str, str]) -> None:
    told = ask("look", tmp_path, f"hf:good/tiny@{COMMIT}", "http://127.0.0.1:9", **env)
    assert told["family"] == "NeedsError"
    assert "is not in this workspace and http://127.0.0.1:9 cannot be reached" in told["message"]
