"""The guard in front of Gradio, on an application that would answer anything."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from opswright.ui.console.auth.guard import Guard, is_loopback, known_hosts

JSON = b"application/json"
PAGES = frozenset({"/", "/ledger"})


@dataclass
class Gradio:
    """Answers everything with 200, stores every upload, and remembers what reached it."""

    uploads: Path
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    body: bytes = b"ok"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        data, more = b"", True
        while more and scope["method"] == "POST":
            message = await receive()
            data, more = data + message.get("body", b""), message.get("more_body", False)
        self.seen.append((scope["path"], data))
        body = self.body
        if scope["path"] == "/gradio_api/upload":
            stored = self.uploads / data.decode()
            stored.write_bytes(b"content")
            body = json.dumps([str(stored)]).encode()
        headers = [(b"content-type", b"text/html"), (b"server", b"uvicorn")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def gradio(tmp_path: Path) -> Gradio:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    return Gradio(uploads)


def ask(
    gradio: Gradio,
    path: str,
    method: str = "GET",
    *,
    body: bytes = b"",
    chunks: int = 1,
    logged_in: bool = True,
    may_upload: bool = True,
    query: str = "",
    **headers: Any,
) -> Answer:
    guard = Guard(
        gradio,
        PAGES,
        known_hosts("127.0.0.1", ["ops.example"]),
        gradio.uploads,
        1000,
        lambda cookies: logged_in,
        lambda cookies: may_upload,
    )
    given = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): text for name, text in headers.items()}}
    size = max(1, -(-len(body) // chunks))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), text.encode()) for name, text in given.items()],
    }
    asyncio.run(guard(scope, receive, send))
    shown = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], shown, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize(
    "path",
    ["/", "/ledger", "/config", "/theme.css", "/assets/a.js", "/static/x.png", "/ledger/export/records.csv",
     "/gradio_api/queue/data", "/gradio_api/heartbeat/abc", "/gradio_api/info"],
)  # fmt: skip
def test_what_the_pages_read_passes(gradio: Gradio, path: str) -> None:
    assert ask(gradio, path).status == 200 and gradio.seen == [(path, b"")]


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/proxy=https://x.hf.space/", "/monitoring", "/monitoring/summary",
     "/gradio_api/openapi.json", "/gradio_api/vibe-code", "/gradio_api/runs",
     "/gradio_api/run-history/buckets", "/gradio_api/deep_link",
     "/gradio_api/mcp/sse", "/gradio_api/mcp", "/docs", "/logout", "/gradio_api/token", "/svelte/x.js",
     "/gradio_api/custom_component/1/client/x/y", "/gradio_api/call/predict/1", "/gradio_api/stream/x"],
)  # fmt: skip
def test_what_no_page_needs_is_not_there(gradio: Gradio, path: str) -> None:
    assert ask(gradio, path).status == 404 and gradio.seen == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/gradio_api/process_recording"), ("POST", "/gradio_api/call/predict"), ("POST", "/"),
     ("POST", "/gradio_api/vibe-edit"), ("PUT", "/gradio_api/queue/join"), ("DELETE", "/ledger"),
     ("OPTIONS", "/gradio_api/queue/join"), ("POST", "/config")],
)  # fmt: skip
def test_a_method_that_no_page_uses_is_not_there(gradio: Gradio, method: str, path: str) -> None:
    assert ask(gradio, path, method).status == 404 and gradio.seen == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:9000", "[::1]:7860", "ops.example", "127.0.0.1"]
)
def test_the_consoles_own_names_are_known(gradio: Gradio, host: str) -> None:
    assert ask(gradio, "/", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil@127.0.0.2.x", "", "10.0.0.1", "[x"]
)
def test_a_name_that_was_made_to_point_here_is_refused(gradio: Gradio, host: str) -> None:
    assert ask(gradio, "/", host=host).status == 403 and gradio.seen == []


def test_a_server_for_others_is_reached_by_any_address_but_only_by_listed_names() -> None:
    known = known_hosts("0.0.0.0", ["ops.example"])
    assert known("10.1.2.3") and known("localhost") and known("ops.example") and known("fe80::1")
    assert not known("evil.example") and not known("")
    assert (
        is_loopback("127.9.9.9") and is_loopback("::1") and is_loopback("[::1]") and is_loopback("localhost")
    )
    assert not is_loopback("0.0.0.0") and not is_loopback("::") and not is_loopback("ops.example")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:7860", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://localhost:7860"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://127.0.0.1:7860"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"host": "ops.example", "origin": "https://ops.example"}, 200),
        ({"host": "ops.example", "origin": "https://ops.example:8443"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/x", "/login", "/logout"])
def test_only_the_consoles_own_pages_may_act(
    gradio: Gradio, headers: dict[str, str], status: int, path: str
) -> None:
    assert ask(gradio, path, "POST", body=b"{}", **dict[str, Any](headers)).status == status
    assert bool(gradio.seen) == (status == 200)


def test_another_site_may_lead_here_but_not_read_here(gradio: Gradio) -> None:
    other: dict[str, Any] = {"sec_fetch_site": "cross-site"}
    assert ask(gradio, "/ledger", sec_fetch_mode="navigate", **other).status == 200
    assert ask(gradio, "/config", sec_fetch_mode="no-cors", **other).status == 403
    assert ask(gradio, "/ledger/export/records.csv", sec_fetch_mode="cors", **other).status == 403


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../secret.txt", "/../../etc/passwd", "{uploads}/../secret.txt", "{folder}/secret.txt",
     "x\0y", "//evil.example/share/x", "\\\\evil.example\\share\\x", "http://127.0.0.1:1/x", "https://evil.example/",
     "file:///etc/passwd", "{uploads}", "{uploads}/missing.txt", "{uploads}/link.txt", "", "~root/.profile",
     "%2e%2e%2fsecret.txt", "..%2f..%2fetc%2fpasswd", "{uploads}/..\\secret.txt"],
)  # fmt: skip
def test_no_file_outside_the_uploads_is_served(gradio: Gradio, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (gradio.uploads / "link.txt").symlink_to(tmp_path / "secret.txt")
    path = "/gradio_api/file=" + name.format(uploads=gradio.uploads, folder=tmp_path)
    assert ask(gradio, path).status in (403, 404) and gradio.seen == []
    assert ask(gradio, path, "HEAD").status in (403, 404) and gradio.seen == []


def test_an_upload_is_served_again(gradio: Gradio) -> None:
    (gradio.uploads / "plan.yaml").write_text("goal: x")
    assert ask(gradio, f"/gradio_api/file={gradio.uploads}/plan.yaml").status == 200


@pytest.mark.parametrize("name", ["plan.yaml", "rows.JSONL", "rows.parquet"])
def test_a_file_of_a_type_that_pages_take_is_stored(gradio: Gradio, name: str) -> None:
    answer = ask(gradio, "/gradio_api/upload", "POST", body=name.encode())
    assert answer.status == 200 and (gradio.uploads / name).exists()


@pytest.mark.parametrize("name", ["page.html", "image.svg", "model.pkl", "plan.yaml.exe", "none"])
def test_a_file_of_another_type_is_refused_and_not_kept(gradio: Gradio, name: str) -> None:
    answer = ask(gradio, "/gradio_api/upload", "POST", body=name.encode())
    assert (
        answer.status == 415 and ".parquet" in answer.body.decode() and list(gradio.uploads.iterdir()) == []
    )


def test_what_somebody_may_not_upload_is_not_stored(gradio: Gradio) -> None:
    answer = ask(gradio, "/gradio_api/upload", "POST", body=b"rows.csv", may_upload=False)
    assert answer.status == 403 and "may not upload" in answer.body.decode()
    assert gradio.seen == [] and list(gradio.uploads.iterdir()) == []


def test_more_than_the_limit_is_refused_whether_or_not_it_says_how_much(gradio: Gradio) -> None:
    large = b"x" * 1001
    said = ask(gradio, "/gradio_api/upload", "POST", body=large, content_length="1001")
    assert said.status == 413 and "max_upload_mb" in said.body.decode()
    assert ask(gradio, "/gradio_api/upload", "POST", body=large, chunks=7).status == 413
    assert ask(gradio, "/gradio_api/upload", "POST", body=b"x", content_length="many").status == 413
    assert gradio.seen == [] and ask(gradio, "/login", "POST", body=b"x" * 70_000).status == 413


@pytest.mark.parametrize(
    "path",
    [
        *("http://127.0.0.1:1/x", "https://evil.example/", "HTTP://evil.example", "ftp://x", " http://x"),
        *("/etc/passwd", "users.json", "", None, ["/etc/passwd"]),
    ],
)
def test_gradio_is_told_of_no_file_for_it_would_fetch_or_copy_it(gradio: Gradio, path: object) -> None:
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for value in ({"data": [file]}, {"data": [{"files": [file]}]}, [[file]], {"event_data": file}):
        body = json.dumps(value).encode()
        for asked in ("queue/join", "run/predict", "run/any", "cancel", "reset"):
            assert ask(gradio, f"/gradio_api/{asked}", "POST", body=body).status == 403
    for body in (
        b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}, "path": 1}]}',
        b'{"data": [{"p\\u0061th": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}',
    ):
        assert ask(gradio, "/gradio_api/run/predict", "POST", body=body).status == 403
    assert ask(gradio, "/gradio_api/component_server", "POST", body=b"{}").status == 404
    assert gradio.seen == []


def test_what_pages_send_arrives_as_it_was_sent(gradio: Gradio) -> None:
    body = json.dumps({"data": ["see http://x", {"name": "/tmp/a.csv", "meta": {}}]}).encode()
    assert ask(gradio, "/gradio_api/queue/join", "POST", body=body, chunks=5).status == 200
    own = b'{"path": "/tmp/a.csv", "name": "a.csv"}'
    assert ask(gradio, "/call/chat/keep", "POST", body=own).status == 200
    assert gradio.seen == [("/gradio_api/queue/join", body), ("/call/chat/keep", own)]
    assert ask(gradio, "/gradio_api/queue/join", "POST", body=b"data=x").status == 400
    assert ask(gradio, "/gradio_api/queue/join", "POST", body=b"[" * 200_000).status == 400


@pytest.mark.parametrize(
    "path", ["/config", "/theme.css", "/assets/a.js", "/gradio_api/info", "/gradio_api/file=x"]
)
def test_without_login_nothing_is_told(gradio: Gradio, path: str) -> None:
    assert ask(gradio, path, logged_in=False).status == 401 and gradio.seen == []
    assert ask(gradio, "/gradio_api/queue/join", "POST", body=b"{}", logged_in=False).status == 401


def test_a_page_leads_to_the_login_and_from_there_back(gradio: Gradio) -> None:
    answer = ask(gradio, "/ledger", query="run=a&seq=3", logged_in=False)
    assert answer.status == 303 and answer.headers["location"] == "/login?to=%2Fledger%3Frun%3Da%26seq%3D3"
    assert gradio.seen == [] and ask(gradio, "/login", logged_in=False).status == 200


def test_every_answer_has_the_headers_and_inline_scripts_are_marked_anew(gradio: Gradio) -> None:
    gradio.body = b"<head><script>x</script></head><script src='y'></script>"
    seen = set()
    for _ in range(2):
        answer = ask(gradio, "/ledger")
        found = re.findall(rb'<script nonce="([\w-]+)"', answer.body)
        assert len(found) == 2 and len(set(found)) == 1
        policy = answer.headers["content-security-policy"]
        assert f"script-src 'self' 'nonce-{found[0].decode()}' 'unsafe-eval';" in policy
        assert "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers["cache-control"] == "no-store" and "server" not in answer.headers
        seen.add(found[0])
    assert len(seen) == 2
    assert "immutable" in ask(gradio, "/assets/index-1a2b3c.js").headers["cache-control"]
    assert ask(gradio, "/theme.css").headers["cache-control"] == "private, no-cache"
    for path in ("/config", "/nothing"):
        headers = ask(gradio, path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
