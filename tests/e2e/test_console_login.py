"""Who gets into the console, and what it does not do for anybody: a real server, a real browser."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

PASSWORD = "correct horse battery"


def opswright(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opswright.ui.cli", *words]
    return subprocess.run(command, cwd=folder, input=typed, capture_output=True, text=True, timeout=200)


def ask(console: Any, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """Status and text of one request, sent as it is: nothing is normalised."""
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=200)
    given = {"Host": f"127.0.0.1:{console.port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**given, **({"Content-Length": str(len(body))} if body else {})}.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


@pytest.fixture(scope="module")
def console(
    prepared_workspace: Path, tmp_path_factory: pytest.TempPathFactory, make_console: Callable[..., Any]
) -> Iterator[Any]:
    """A console that asks who somebody is."""
    folder = Path(shutil.copytree(prepared_workspace, tmp_path_factory.mktemp("login") / "small"))
    for name, role in (("ines", "viewer"), ("ada", "operator")):
        added = opswright(folder, "users", "add", name, "--role", role, typed=f"{PASSWORD}\n")
        assert added.returncode == 0, added.stderr
    server = make_console(folder)
    server.start()
    yield server
    server.stop()


def first_record(folder: Path, role: str) -> dict[str, Any]:
    """The ledger's first record of somebody in that role, once there is one."""
    path = next((folder / ".opswright" / "ledger").glob("*.jsonl"))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        records: list[dict[str, Any]] = [json.loads(line) for line in whole]
        if found := next((record for record in records if role in record["roles"]), None):
            return found
        time.sleep(0.2)
    raise AssertionError(f"no record of a {role}")


def log_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_no_request_to_gradio_brings_a_file_of_the_machine_out(page: Page, console: Any) -> None:
    """Whatever a part of a page takes, Gradio would copy a file it is told of to where files are served."""
    page.goto(f"{console.url}/ledger")
    log_in(page, "ines", PASSWORD)
    page.wait_for_selector("#ledger-table tbody tr")
    (cookie,) = page.context.cookies()
    session = f"{cookie['name']}={cookie['value']}"
    users = console.folder / ".opswright" / "users.json"
    file = {"path": str(users), "meta": {"_type": "gradio.FileData"}}
    count = len(json.loads(ask(console, "GET", "/config", Cookie=session)[1])["dependencies"])
    for number in range(count):
        body = json.dumps({"data": [file] * 12, "fn_index": number, "session_hash": "s"})
        for way in ("run/predict", "queue/join"):
            assert ask(console, "POST", f"/gradio_api/{way}", body, Cookie=session)[0] == 403
    uploads = console.folder / ".opswright" / "uploads"
    assert [path for path in uploads.rglob("*") if path.is_file()] == []
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("text=Log in to the console.")


def test_a_person_logs_in_acts_under_their_name_and_logs_out(page: Page, console: Any) -> None:
    for path in ("/config", "/gradio_api/info", "/theme.css", "/ledger/export/records.jsonl"):
        assert ask(console, "GET", path)[0] == 401
    assert ask(console, "POST", "/gradio_api/queue/join", "{}")[0] == 401

    page.goto(f"{console.url}/ledger?phase=approved")
    log_in(page, "ada", "wrong horse battery")
    page.wait_for_selector("text=Name or password is wrong.")
    log_in(page, "ada", PASSWORD)
    page.wait_for_selector("#person :text('ada')")
    assert page.url == f"{console.url}/ledger?phase=approved"
    assert "operator" in page.locator("#person").inner_text()
    page.wait_for_selector("#ledger-table tbody tr")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax"
    assert page.evaluate("document.cookie") == ""

    page.goto(console.url)
    page.wait_for_selector("#chat-page [data-ready]")
    page.locator("#chat-page textarea").fill("/plan 1-practise.yaml")
    page.keyboard.press("Enter")
    record = first_record(console.folder, role="operator")
    assert (record["phase"], record["actor"]) == ("proposed", "ada")

    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("text=Log in to the console.")
    session = f"{cookie['name']}={cookie['value']}"
    assert ask(console, "GET", "/config", Cookie=session)[0] == 401
    page.goto(console.url)
    page.wait_for_selector("text=Log in to the console.")
    assert "'ada' was not let in from 127.0.0.1" in console.log.read_text()
    assert PASSWORD not in console.log.read_text() and "Traceback" not in console.log.read_text()


def test_a_user_who_is_removed_has_no_access_and_wrong_passwords_must_wait(page: Page, console: Any) -> None:
    page.goto(console.url)
    log_in(page, "ines", PASSWORD)
    page.wait_for_selector("#person :text('ines')")
    (cookie,) = page.context.cookies()
    session = f"{cookie['name']}={cookie['value']}"
    assert ask(console, "GET", "/config", Cookie=session)[0] == 200
    assert opswright(console.folder, "users", "remove", "ines").returncode == 0
    assert ask(console, "GET", "/config", Cookie=session)[0] == 401
    page.goto(f"{console.url}/drift")
    page.wait_for_selector("text=Log in to the console.")

    form = {"Content_Type": "application/x-www-form-urlencoded"}

    def enter(password: str) -> int:
        return ask(console, "POST", "/login", f"name=ada&password={password.replace(' ', '+')}", **form)[0]

    codes = [enter("guess") for _ in range(4)]  # five are free, and one may be mistyped by another test here
    assert codes == [401] * 4
    while (
        enter(PASSWORD) != 429
    ):  # where a try takes longer than the first wait of a second, the next doubles it
        assert len(codes) < 12
        codes.append(enter("guess"))


def test_an_open_address_and_a_taken_port_are_refused_and_no_file_leaves_the_machine(
    shown_console: Any,
) -> None:
    console, folder = shown_console, shown_console.folder
    refused = opswright(folder, "chat", "--host", "0.0.0.0", "--port", "7999")
    assert refused.returncode == 2 and "opswright users add NAME" in refused.stderr
    taken = opswright(folder, "chat", "--port", str(console.port))
    assert taken.returncode == 1 and f"port {console.port}" in taken.stderr and "--port" in taken.stderr

    home = folder / ".opswright"
    users, outside = home / "users.json", folder / "lines.txt"
    users.write_text("{}")
    ledger = next((home / "ledger").glob("*.jsonl"))
    own = ["/etc/passwd", str(ledger), str(users), str(home / "checkpoints.sqlite"), str(outside)]
    tricks = [
        *(
            "../../../etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "%2e%2e/%2e%2e/etc/passwd",
            "%252e%252e/etc/passwd",
        ),
        *(
            "//127.0.0.1/etc/passwd",
            "%5c%5c127.0.0.1%5cshare%5cx",
            "/etc/passwd%00.yaml",
            "/proc/self/environ",
        ),
        *(
            "file:///etc/passwd",
            "http://127.0.0.1:1/x",
            "https://evil.example/x",
            "http:%2f%2fevil.example%2fx",
        ),
        f"{home}/uploads/../ledger/{ledger.name}",
    ]
    for name in [*own, *tricks]:
        for route in ("/gradio_api/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/"):
            status, text = ask(console, "GET", route + name)
            assert status in (400, 403, 404) and "root:" not in text, (route, name, status)
    users.unlink()


def test_only_its_own_pages_act_on_it_and_only_by_the_ways_they_use(
    shown_console: Any,
) -> None:
    console = shown_console
    home = console.folder / ".opswright"
    page = f"http://127.0.0.1:{console.port}"
    join = ("POST", "/gradio_api/queue/join", "{}")
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", f"http://localhost:{console.port}"):
        assert ask(console, *join, Origin=origin, Content_Type="application/json")[0] == 403
    assert ask(console, *join, Origin=page, Content_Type="application/json")[0] == 422
    for host in ("evil.example", f"evil.example:{console.port}", "127.0.0.1.evil.example"):
        assert ask(console, "GET", "/", Host=host)[0] == 403
        assert ask(console, *join, Host=host, Origin=f"http://{host}")[0] == 403
    assert ask(console, "GET", "/", Host=f"localhost:{console.port}")[0] == 200

    address = {"path": "http://127.0.0.1:1/x", "meta": {"_type": "gradio.FileData"}}
    call = json.dumps({"data": [address], "fn_index": 0, "session_hash": "x"})
    assert ask(console, "POST", "/gradio_api/queue/join", call, Content_Type="application/json")[0] == 403
    for path in (
        "/gradio_api/proxy=https://x.hf.space/",
        "/monitoring",
        "/docs",
        "/gradio_api/mcp",
        "/gradio_api/runs",
    ):
        assert ask(console, "GET", path)[0] == 404
    for name, status in (("plan.yaml", 200), ("page.html", 415)):
        part = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'
        sent = ask(
            console, "POST", "/gradio_api/upload", part, Content_Type="multipart/form-data; boundary=b"
        )
        assert sent[0] == status, sent
    kept = [path.name for path in (home / "uploads").rglob("*") if path.is_file()]
    assert kept == ["plan.yaml"]
