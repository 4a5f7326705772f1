"""The users of the console, from the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from opswright.core.registry import Registry
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]
PASSWORD = "a long enough password"


def users(monkeypatch: pytest.MonkeyPatch, *argv: str, typed: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return run(["users", *argv], Registry([]))


def test_users_are_added_listed_and_removed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert users(monkeypatch, "add", "ada", "--role", "releaser", typed=f"{PASSWORD}\n") == 0
    assert users(monkeypatch, "add", "bob", typed=PASSWORD) == 0
    path = Path(".opswright/users.json")
    assert path.stat().st_mode & 0o777 == 0o600 and PASSWORD not in path.read_text()
    capsys.readouterr()
    assert users(monkeypatch, "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [{"name": "ada", "role": "releaser"}, {"name": "bob", "role": "operator"}]
    assert users(monkeypatch, "remove", "ada") == 0
    assert users(monkeypatch, "remove", "ada") == 2
    assert "unknown user 'ada'" in capsys.readouterr().err


def test_what_will_not_do_is_refused_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert users(monkeypatch, "add", "ada", "--role", "king", typed=PASSWORD) == 2
    assert users(monkeypatch, "add", "ada", typed="short\n") == 2
    assert users(monkeypatch, "add", "ada") == 2
    assert users(monkeypatch, "add", "ada", "--password", PASSWORD) == 2
    assert users(monkeypatch, "list") == 2
    assert "opswright users add NAME" in capsys.readouterr().err
    assert not Path(".opswright/users.json").exists()


def test_a_file_open_to_others_is_not_used(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    users(monkeypatch, "add", "ada", typed=PASSWORD)
    Path(".opswright/users.json").chmod(0o644)
    assert users(monkeypatch, "list") == 2 and "chmod 600" in capsys.readouterr().err
    assert run(["chat", "--port", "7998"], Registry([])) == 2


def test_the_console_is_not_opened_to_others_without_users(capsys: Captured) -> None:
    assert run(["chat", "--host", "0.0.0.0", "--port", "7998"], Registry([])) == 2
    assert "opswright users add NAME" in capsys.readouterr().err


def test_a_user_may_have_a_role_of_the_policys_own(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    Path("policy.yaml").write_text("roles: {lead: {propose: [reads], run: [reads]}}\n")
    assert users(monkeypatch, "add", "ada", "--role", "lead", typed=f"{PASSWORD}\n") == 0
    assert users(monkeypatch, "add", "bob", "--role", "operator", typed=f"{PASSWORD}\n") == 2
    assert "unknown role 'operator'" in capsys.readouterr().err
