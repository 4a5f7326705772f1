"""Tokens of continuous integration: those that must not be taken, and what the others may do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from opswright.agents.policy import Policy, PolicyRules, read_rules
from opswright.core.contract import Effect
from opswright.core.errors import AskError, DeniedError, NeedsError
from opswright.core.principal import Principal
from opswright.record.ledger import Ledger
from opswright.ui.cli import run

ISSUER = "https://token.actions.githubusercontent.com"
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
SHORT_KEY = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
CLAIMS = {"repository": "acme/models", "ref": "refs/heads/main"}


def jwk(key: Any, key_id: str, **more: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more}


KEYS = {"keys": [jwk(RSA_KEY, "one"), jwk(EC_KEY, "two"), jwk(SHORT_KEY, "short")]}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": "opswright",
        "sub": "repo:acme/models:ref:refs/heads/main",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "event_name": "push",
        **CLAIMS,
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def token(
    key: Any = RSA_KEY, kid: str | None = "one", headers: dict[str, Any] | None = None, **said: Any
) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    named = {"kid": kid} if kid is not None else {}
    return jwt.encode(claims(**said), key, algorithm, headers={**named, **(headers or {})})


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned() -> str:
    return f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims())}."


def signed_with_the_public_key() -> str:
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{part(claims())}"
    signature = hmac.new(public, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def rules(**changes: Any) -> dict[str, Any]:
    identity = {
        "issuer": ISSUER,
        "audience": "opswright",
        "jwks": {"file": "keys.json"},
        "claims": CLAIMS,
        "roles": ["releaser", "viewer"],
    }
    return {"identities": {"models-main": {**identity, **changes}}, "local_roles": ["viewer"]}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    (tmp_path / "policy.yaml").write_text(json.dumps(rules()))
    (tmp_path / "lines.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.setenv("OPSWRIGHT_MLFLOW__MIRROR", "off")
    monkeypatch.setenv("OPSWRIGHT_IDENTITY__TOKEN", "secret:env:ID_TOKEN")
    monkeypatch.setenv("ID_TOKEN", token())


@pytest.fixture
def whoami(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """What `whoami` says, with its exit code."""

    def ask(*argv: str) -> dict[str, Any]:
        code = run([*argv, "whoami", "--json"])
        told = capsys.readouterr()
        assert "eyJ" not in told.out + told.err  # how a token begins
        found: dict[str, Any] = json.loads(told.out)
        return {**found, "code": code, "said": told.err}

    return ask


@pytest.mark.parametrize("key", [(RSA_KEY, "one"), (EC_KEY, "two")])
def test_who_brings_a_token_is_whom_the_policy_says(
    whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, key: tuple[Any, str]
) -> None:
    monkeypatch.setenv("ID_TOKEN", token(*key))
    found = whoami()
    assert (found["code"], found["actor"], found["roles"]) == (0, "models-main", ["releaser", "viewer"])
    assert found["authenticated_by"] == (
        f'id token of models-main: issuer "{ISSUER}", subject "repo:acme/models:ref:refs/heads/main", '
        f'key "{key[1]}", repository "acme/models", ref "refs/heads/main"'
    )


HEADERS = {"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/chain"}
BAD: dict[str, Callable[[], str]] = {
    "other audience": lambda: token(aud="somebody-else"),
    "expired": lambda: token(exp=int(time.time()) - 60, iat=int(time.time()) - 360, nbf=None),
    "not yet": lambda: token(nbf=int(time.time()) + 600),
    "from the future": lambda: token(iat=int(time.time()) + 600),
    "other issuer": lambda: token(iss="https://gitlab.com"),
    "issuer that begins alike": lambda: token(iss=f"{ISSUER}.evil.example"),
    "no end": lambda: token(exp=None),
    "no beginning": lambda: token(iat=None),
    "endless": lambda: token(exp=int(time.time()) + 10 * 86_400),
    "times that are text": lambda: token(exp=str(int(time.time()) + 300), iat=str(int(time.time()))),
    "times without end": lambda: token(exp=float("inf")),
    "no subject": lambda: token(sub=None),
    "alg none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "signed by another key": lambda: token(OTHER_KEY),
    "unknown key": lambda: token(OTHER_KEY, "three"),
    "key id that is a path": lambda: token(OTHER_KEY, "../../keys.json"),
    "key id that is another kind's": lambda: token(RSA_KEY, "two"),
    "no key id": lambda: token(kid=None),
    "key that is too short": lambda: token(SHORT_KEY, "short"),
    "address of its own keys": lambda: token(OTHER_KEY, "three", HEADERS),
    "key of its own": lambda: token(OTHER_KEY, "one", {"jwk": jwk(OTHER_KEY, "one")}),
    "critical header": lambda: token(headers={"crit": ["b64"], "b64": True}),
    "other repository": lambda: token(
        repository="acme/models-evil", sub="repo:acme/models-evil:ref:refs/heads/main"
    ),
    "other branch": lambda: token(ref="refs/heads/mainline"),
    "a list for a claim": lambda: token(repository=["acme/models"]),
    "a claim that is missing": lambda: token(ref=None),
    "a fork's pull request": lambda: token(
        repository="mallory/models", ref="refs/pull/7/merge", event_name="pull_request"
    ),
    "pull_request_target on the branch": lambda: token(event_name="pull_request_target"),
    "an event that is a list": lambda: token(event_name=["push"]),
    "what a pull request set off": lambda: token(event_name="workflow_run"),
    "a subject of pull requests": lambda: token(sub="repo:acme/models:pull_request", event_name=None),
    "a merge request": lambda: token(event_name=None, pipeline_source="merge_request_event"),
    "no token": lambda: "eyJub3RoaW5n.eyJ.",
    "much too long": lambda: "eyJ" + "a" * 100_000,
}


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
@pytest.mark.parametrize("what", BAD)
def test_a_token_that_is_not_whom_the_policy_means_is_denied(
    what: str, whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_TOKEN", BAD[what]())
    found = whoami()
    assert (found["code"], found["outcome"]) == (8, "denied"), found["said"]
    assert "the identity token is not taken" in found["said"]


def test_a_token_counts_no_more_once_it_has_expired(
    whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_TOKEN", token(exp=int(time.time()) - 28, iat=int(time.time()) - 300, nbf=None))
    assert whoami()["code"] == 0  # clocks differ by seconds
    time.sleep(2.5)
    assert whoami()["code"] == 8


def test_a_missing_token_is_not_the_operating_systems_user(
    whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ID_TOKEN")
    assert (whoami()["code"], whoami()["error"]["family"]) == (1, "NeedsError")


def test_a_role_narrows_a_token_and_never_widens_it(whoami: Callable[..., dict[str, Any]]) -> None:
    assert whoami("--role", "viewer")["roles"] == ["viewer"]
    found = whoami("--role", "operator")
    assert found["code"] == 8 and "narrows a token and never widens it" in found["said"]


def test_nobody_takes_another_name_beside_a_token(whoami: Callable[..., dict[str, Any]]) -> None:
    found = whoami("--actor", "grace")
    assert found["code"] == 2 and "Leave --actor out" in found["said"]


def test_on_a_runner_nobody_simply_says_that_they_are_a_releaser(
    whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPSWRIGHT_IDENTITY__TOKEN")
    assert whoami()["roles"] == ["viewer"]
    found = whoami("--role", "releaser")
    assert found["code"] == 8 and "may not act as 'releaser'" in found["said"]


def test_the_policy_counts_no_role_that_a_record_claims_and_its_way_in_does_not_give(tmp_path: Path) -> None:
    effects = {"look": Effect.READS, "deploy": Effect.SERVES}.get
    policy = Policy(read_rules(tmp_path / "policy.yaml"), effects)
    known = "id token of models-main: x"
    for who, counted in {
        Principal("models-main", ("releaser",), known): ("releaser",),
        Principal("models-main", ("operator",), known): (),
        Principal("somebody", ("releaser",), "id token of somebody: x"): (),
        Principal("ada", ("releaser", "viewer"), "os user ada"): ("viewer",),
        Principal("ada", ("releaser",), "console login"): ("releaser",),
    }.items():
        assert policy.counted_roles(who) == counted, who


def test_what_a_token_said_is_in_the_record_and_the_token_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["leaderboard-of-nothing"]) == 2
    assert run(["agent", "/leaderboard", "--json"]) == 0
    from opswright.core.settings import load_settings
    from opswright.core.workspace import Workspace

    workspace = Workspace(load_settings())
    (known,) = {record.authenticated_by for record in Ledger.of(workspace).records()}
    assert 'key "one"' in known and 'repository "acme/models"' in known
    signature = token().split(".")[0]
    held = [
        path for path in tmp_path.rglob("*") if path.is_file() and signature.encode() in path.read_bytes()
    ]
    assert held == []
    assert run(["audit", "verify"]) == 0, capsys.readouterr().err


def test_a_policy_without_identities_keeps_the_digest_it_had() -> None:
    policy = Policy(PolicyRules(), lambda name: None)
    assert set(policy.document()) == {"roles", "rules", "protected_endpoints", "approvals"}
    closed = Policy(PolicyRules(local_roles=()), lambda name: None)
    assert closed.document()["local_roles"] == [] and closed.digest != policy.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claims": {}}, "claims"),
        ({"claims": {"ref": "refs/heads/main"}}, "gives tokens to everybody"),
        ({"claims": {"repository": ""}}, "has no value"),
        ({"claims": {"aud": "x", "sub": "y"}}, "field of its own"),
        ({"roles": ["boss"]}, "names role 'boss'"),
        ({"jwks": {"url": "http://keys.example/jwks"}}, "https"),
        ({"jwks": {}}, "either url or file"),
    ],
)
def test_an_identity_that_would_take_anybody_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(json.dumps(rules(**changes)))
    with pytest.raises(AskError, match=said):
        read_rules(tmp_path / "policy.yaml")


def test_identities_say_what_everybody_else_may_be(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(json.dumps({"identities": rules()["identities"]}))
    with pytest.raises(AskError, match="local_roles"):
        read_rules(tmp_path / "policy.yaml")


@pytest.fixture
def issuer(start_server: Callable[[BaseServer], None]) -> Any:
    """A server of keys, and of tokens for those who have the bearer's word."""

    class Handler(BaseHTTPRequestHandler):
        asked: list[str] = []  # noqa: RUF012
        keys: dict[str, Any] = KEYS

        def do_GET(self) -> None:
            self.asked.append(self.path)
            moved = self.path.startswith("/moved")
            is_token = self.path.startswith("/token")
            refused = is_token and self.headers["Authorization"] != "Bearer the-jobs-own-word"
            self.send_response(302 if moved else 403 if refused else 200)
            if moved:
                self.send_header("Location", "/keys")
            self.end_headers()
            found = {"value": token(aud=self.path.partition("audience=")[2])} if is_token else type(self).keys
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    start_server(server)
    Handler.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    return Handler


def test_keys_are_asked_for_once_and_again_for_a_key_id_that_is_new(
    issuer: Any, whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(json.dumps(rules(jwks={"url": f"{issuer.address}/keys"})))
    assert [whoami()["code"] for _ in range(3)] == [0, 0, 0]
    assert issuer.asked == ["/keys"]
    monkeypatch.setenv("ID_TOKEN", token(OTHER_KEY, "rotated"))
    assert whoami()["code"] == 8
    issuer.keys = {"keys": [*KEYS["keys"], jwk(OTHER_KEY, "rotated")]}
    assert whoami()["code"] == 0
    assert issuer.asked == ["/keys"] * 3
    (kept,) = (tmp_path / ".opswright" / "identity").glob("*.json")
    assert kept.stat().st_mode & 0o077 == 0
    old = {**json.loads(kept.read_text()), "at": time.time() - 25 * 3600}
    kept.write_text(json.dumps(old))
    assert whoami()["code"] == 0
    assert issuer.asked == ["/keys"] * 4


def test_keys_come_from_the_address_that_the_policy_names_and_no_other(
    issuer: Any, whoami: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(json.dumps(rules(jwks={"url": f"{issuer.address}/moved"})))
    assert whoami()["error"]["family"] == "NeedsError"
    assert issuer.asked == ["/moved"]


def test_two_keys_of_one_id_are_none(whoami: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk(OTHER_KEY, "one"), jwk(RSA_KEY, "one")]}))
    assert whoami()["code"] == 8


def test_a_github_job_asks_its_own_service_for_a_token(
    issuer: Any, whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_IDENTITY__TOKEN", "github")
    assert "id-token: write" in whoami()["said"]
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{issuer.address}/token?api-version=2")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-strangers-word")
    found = whoami()
    assert found["error"]["family"] == "NeedsError" and "a-strangers-word" not in found["said"]
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the-jobs-own-word")
    assert whoami()["actor"] == "models-main"
    assert issuer.asked[-1] == "/token?api-version=2&audience=opswright"


def test_a_token_itself_is_no_setting(
    whoami: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSWRIGHT_IDENTITY__TOKEN", token())
    assert whoami()["code"] == 2


def test_keys_that_cannot_be_read_take_nobody(tmp_path: Path) -> None:
    from opswright.agents.identity.id_token import verify_token

    identities = read_rules(tmp_path / "policy.yaml").identities
    (tmp_path / "keys.json").unlink()
    with pytest.raises(NeedsError):
        verify_token(token(), identities, folder=tmp_path, cache=tmp_path)
    with pytest.raises(DeniedError):
        verify_token("x", identities, folder=tmp_path, cache=tmp_path)
