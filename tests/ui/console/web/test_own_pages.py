"""The console's own pages: one answer each, without Gradio, for who is logged in and their own pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from opswright.core.settings import Role
from opswright.ui.console import app
from opswright.ui.console.auth.users import Person
from opswright.ui.console.console import Console

HOST = "http://127.0.0.1:7999"
OPEN = "/call/chat/open_conversation"


def client(console: Console, users: Mapping[str, Person] | None = None) -> TestClient:
    console.users = users
    return TestClient(app.application(console, "127.0.0.1", 7999), base_url=HOST)


def test_the_first_page_is_one_answer_that_needs_no_gradio(tmp_path: Path) -> None:
    program = (
        "import re, sys\n"
        "from opswright.core.settings import load_settings\n"
        "from opswright.skills import load_registry\n"
        "from opswright.ui.console.app import application\n"
        "from opswright.ui.console.console import Console\n"
        "from starlette.testclient import TestClient\n"
        f"console = Console(load_registry(), load_settings(home={str(tmp_path)!r}))\n"
        f"web = TestClient(application(console, '127.0.0.1', 7999), base_url={HOST!r})\n"
        "page = web.get('/').text\n"
        f"found = web.post({OPEN!r}, json={{}}).json()\n"
        "console.close()\n"
        "assert 'opswright demo' in found['overview'], found\n"
        "assert not re.findall(r'(src|href)=.(?!/|#|data:)', page) and '<link rel=.stylesheet' not in page\n"
        "print(sorted({'gradio', 'fastapi', 'langgraph', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stderr[-1500:]


def test_who_is_not_logged_in_gets_no_page_and_no_answer(console: Console) -> None:
    web = client(console, {"ada": Person("ada", Role.RELEASER)})
    assert web.post(OPEN, json={}).status_code == 401
    assert web.post("/call/approvals/approve", json={"run": "x", "plan": "y"}).status_code == 401
    assert web.get("/approvals", follow_redirects=False).headers["location"].startswith("/login")


def test_another_sites_page_asks_nothing(console: Console) -> None:
    web = client(console)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        assert web.post(OPEN, json={}, headers=headers).status_code == 403
    assert web.get(OPEN).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (OPEN, b"{", 400),
        (OPEN, b"", 422),
        (OPEN, b"[1]", 422),
        (OPEN, b"[" * 100_000, 400),
        ("/call/chat/close", b"{}", 404),
        ("/call/chat/__class__", b"{}", 404),
        ("/call/nothing/show", b"{}", 404),
        ("/call/chat/look", b'{"conversation": "../ledger/000001"}', 200),
        ("/call/chat/rename", b'{"title": {"a": 1}}', 200),
        ("/call/approvals/approve", b'{"run": "../x", "plan": null}', 200),
    ],
)
def test_what_no_page_sends_is_a_fault_in_words(
    console: Console, path: str, body: bytes, status: int
) -> None:
    answer = client(console).post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert status != 200 or answer.json()["fault"]


def test_every_page_has_the_way_to_every_other_and_says_who_looks(console: Console) -> None:
    web = client(console)
    for path in ("/", "/approvals", "/data", "/budgets", "/system"):
        answer = web.get(path)
        assert answer.status_code == 200 and "ada" in answer.text
        assert answer.text.count('aria-current="page"') == 1
        assert all(f'href="{other}"' in answer.text for other in ("/", "/ledger", "/leaderboard", "/system"))
        assert "script-src 'self' 'nonce-" in answer.headers["content-security-policy"]
        assert "<script>" not in answer.text  # each has the answer's nonce
