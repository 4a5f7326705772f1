"""Secrets: hidden however a program writes them, refused when they cannot be, never echoed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from pydantic import BaseModel, Field, ValidationError

from opswright.core.contract import Effect, Request, Result, StepContext, skill
from opswright.core.errors import AskError, NeedsError
from opswright.core.secrets import Redactor, SecretName, secret_names
from opswright.core.settings import load_settings

SECRETS = {
    "plain": "hunter2hunter2",
    "quotes": "pa'ss\"w\\ord9",
    "letters": "pässwörd-ß",
    "slashes": "aB/cd+ef==xyz~?",
    "lines": "-----BEGIN KEY-----\nabcdefSECRETBODY\n-----END KEY-----",
}
WRITINGS: dict[str, Callable[[str], str]] = {
    "itself": lambda value: value,
    "repr": repr,
    "repr among quotes": lambda value: repr(f"it's {value}\""),
    "repr of bytes": lambda value: repr(value.encode()),
    "json": json.dumps,
    "json with letters": lambda value: json.dumps(value, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps(value)),
    "json in repr": lambda value: repr(json.dumps({"key": value})),
    "url": quote,
    "url, slashes too": lambda value: quote(value, safe=""),
    "url, lower case": lambda value: quote(value, safe="").lower(),
    "form": quote_plus,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "basic authorization": lambda value: base64.b64encode(f"ada:{value}".encode()).decode(),
    "basic authorization, longer name": lambda value: base64.b64encode(f"adas:{value}!".encode()).decode(),
}


def redactor_of(value: str, monkeypatch: pytest.MonkeyPatch) -> Redactor:
    monkeypatch.setenv("KEY_VALUE", value)
    made = Redactor()
    assert made.resolve(SecretName("secret:env:KEY_VALUE")) == value
    return made


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_hidden_however_it_is_written(
    kind: str, writing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = WRITINGS[writing](SECRETS[kind])
    hidden = redactor_of(SECRETS[kind], monkeypatch).text(f"before {written} after")
    assert hidden.startswith("before ") and hidden.endswith(" after") and "[secret]" in hidden
    shown = hidden.replace("[secret]", "").removeprefix("before ").removesuffix(" after")
    assert len(shown) < 14, f"more is left than what stood around the secret: {hidden}"
    assert not [at for at in range(len(shown) - 3) if shown[at : at + 4] in SECRETS[kind]], hidden


def test_each_line_of_a_secret_is_hidden_and_a_number_too(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = redactor_of(SECRETS["lines"], monkeypatch)
    assert redactor.text("the body is abcdefSECRETBODY here") == "the body is [secret] here"
    assert redactor_of("4711471147", monkeypatch).plain({"n": [4711471147, 3, True]}) == {
        "n": ["[secret]", 3, True]
    }


@pytest.mark.parametrize("value", ["abc", "1234567", "       abc      "])
def test_a_secret_too_short_to_hide_is_refused_and_not_told(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_VALUE", value)
    with pytest.raises(NeedsError, match="KEY_VALUE holds fewer than 8 characters") as caught:
        Redactor().resolve(SecretName("secret:env:KEY_VALUE"))
    assert value.strip() not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00key-of-bytes", b"", b"short"])
def test_a_secrets_file_that_holds_none_is_said_in_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(NeedsError, match="the secret's file"):
        SecretName(f"secret:file:{tmp_path / 'key'}").resolve()
    with pytest.raises(NeedsError, match="cannot read the secret's file"):
        SecretName("secret:file:no\0where").resolve()


class Part(BaseModel):
    key: SecretName


class KeyRequest(Request):
    key: SecretName | None = None
    keys: tuple[SecretName, ...] = ()
    named: dict[str, SecretName] = Field(default_factory=dict)
    part: Part | None = None
    rows: int = 0


class KeyResult(Result):
    pass


@skill(effect=Effect.READS, summary="Take the name of a secret.")
def use_key(request: KeyRequest, ctx: StepContext) -> KeyResult:
    return KeyResult()


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": "sk-REAL-4711"},
        {"key": {"value": "sk-REAL-4711"}},
        {"key": ["sk-REAL-4711"]},
        {"keys": "sk-REAL-4711"},
        {"keys": ["sk-REAL-4711"]},
        {"named": "sk-REAL-4711"},
        {"named": {"one": "sk-REAL-4711"}},
        {"part": "sk-REAL-4711"},
        {"part": {"key": "sk-REAL-4711"}},
    ],
)
def test_a_secret_where_its_name_belongs_is_not_echoed(arguments: dict[str, object]) -> None:
    with pytest.raises(AskError) as caught:
        use_key.parse(arguments)
    assert "sk-REAL" not in str(caught.value) and next(iter(arguments)) in str(caught.value)
    assert isinstance(caught.value.__cause__, ValidationError)
    assert "sk-REAL" not in str(caught.value.__cause__)


def test_what_was_found_is_still_said_where_no_secret_belongs() -> None:
    with pytest.raises(AskError, match="found 'many'"):
        use_key.parse({"rows": "many"})
    assert use_key.schema()["properties"]["keys"]["items"] == {"type": "string"}
    assert KeyRequest(key=SecretName("secret:env:A")).model_dump(mode="json")["key"] == "secret:env:A"


def test_every_secret_that_settings_name_is_found_also_in_lists_of_theirs() -> None:
    hook = {"name": "team", "url": "https://hooks.example.org/x", "secret": "secret:env:HOOK_KEY"}
    model = {"kind": "llm", "base_url": "http://127.0.0.1:1/v1", "model": "m", "key": "secret:env:MODEL_KEY"}
    settings = load_settings(notifications={"webhooks": [hook]}, planner=model)
    assert set(secret_names(settings)) == {"secret:env:HOOK_KEY", "secret:env:MODEL_KEY"}
