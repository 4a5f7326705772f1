"""`opswright keys`: given out once, listed without their text, taken back."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from opswright.core.registry import Registry
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.serving.keys.store import KeyStore
from opswright.ui.cli import run

Captured = pytest.CaptureFixture[str]


def opswright(*argv: str) -> int:
    return run(list(argv), Registry([]))


def created(capsys: Captured, *argv: str) -> str:
    assert opswright("keys", "create", *argv) == 0
    return capsys.readouterr().out.strip()


def test_a_key_is_printed_once_with_what_it_allows_and_never_again(tmp_path: Path, capsys: Captured) -> None:
    limits = ("--requests-per-minute", "60", "--budget-tokens", "5000", "--per", "day")
    text = created(capsys, "webshop", "--endpoint", "support", "--endpoint", "orders", *limits)
    key = KeyStore(Workspace(load_settings(home=tmp_path / ".opswright"))).find(text)
    assert key is not None and key.endpoints == ("support", "orders")
    assert (key.limits.requests_per_minute, key.limits.budget_tokens, key.limits.budget_period) == (
        60,
        5000,
        "day",
    )
    for options in ((), ("--json",)):
        assert opswright("keys", "list", *options) == 0
        shown = capsys.readouterr().out
        assert "webshop" in shown and text not in shown and key.hash not in shown


def test_a_revoked_key_is_listed_as_such(capsys: Captured) -> None:
    created(capsys, "webshop", "--json")
    assert opswright("keys", "revoke", "webshop") == 0
    assert opswright("keys", "list", "--json") == 0
    (key,) = json.loads(capsys.readouterr().out)
    assert key["revoked"] is not None and key["used"] == {"requests": 0, "tokens": 0}
    assert opswright("keys", "revoke", "webshop") == 2
    assert "no valid key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("a b",),
        ("ada", "--scope", "everything"),
        ("ada", "--per", "year"),
        ("ada", "--budget-tokens", "0"),
        ("ada", "--endpoint", "no such/name"),
        ("ada", "--valid-days", "-1"),
    ],
)
def test_a_wrong_key_is_refused_and_none_is_made(
    tmp_path: Path, capsys: Captured, wrong: tuple[str, ...]
) -> None:
    assert opswright("keys", "create", *wrong) == 2
    assert capsys.readouterr().err
    assert not (tmp_path / ".opswright" / "keys.json").exists()


def test_without_keys_the_list_says_that_everybody_of_this_machine_may_ask(capsys: Captured) -> None:
    assert opswright("keys", "list") == 0
    assert "no keys" in capsys.readouterr().out


def test_with_a_shared_store_keys_are_given_out_listed_and_taken_back_there(
    tmp_path: Path, capsys: Captured, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_SERVING__STORE__URL", redis_url)
    monkeypatch.setenv("OPSWRIGHT_SERVING__STORE__PREFIX", f"t{uuid.uuid4().hex}")
    assert opswright("keys", "list") == 0
    assert "nobody may ask" in capsys.readouterr().out
    text = created(capsys, "webshop", "--budget-tokens", "500")
    assert opswright("keys", "list", "--json") == 0
    shown = capsys.readouterr().out
    (key,) = json.loads(shown)
    assert key["name"] == "webshop" and key["used"] == {"requests": 0, "tokens": 0} and text not in shown
    assert opswright("keys", "revoke", "webshop") == 0
    assert not list(tmp_path.rglob("keys.json")) and not list(tmp_path.rglob("key-usage.sqlite"))
    monkeypatch.setenv("OPSWRIGHT_SERVING__STORE__URL", "redis://127.0.0.1:1")
    assert opswright("keys", "list") == 1
    assert "does not serve" in capsys.readouterr().err
