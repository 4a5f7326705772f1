"""`opswright mcp`: tokens are shown once, and the server starts only where somebody can call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.ui.cli import run


def test_a_token_is_shown_once_and_can_be_revoked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["mcp", "token", "create", "ada", "--role", "operator", "--attended", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["mcp", "token", "list", "--json"]) == 0
    shown = capsys.readouterr().out
    (listed,) = json.loads(shown)
    assert listed["role"] == "operator" and listed["attended"] and "hash" not in listed
    file = Path(".opswright/mcp-tokens.json")
    assert made["token"] not in shown + file.read_text() and file.stat().st_mode & 0o077 == 0
    assert run(["mcp", "token", "revoke", "ada"]) == 0
    assert run(["mcp", "token", "revoke", "ada"]) == 2
    assert run(["mcp", "--http", "--port", "0"]) == 1  # nobody has a valid token


def test_a_role_that_the_policy_does_not_know_gets_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mcp", "token", "create", "ada", "--role", "operater"]) == 2
    assert "Did you mean 'operator'?" in capsys.readouterr().err


def test_a_port_without_http_is_a_mistake() -> None:
    assert run(["mcp", "--port", "7000"]) == 2
