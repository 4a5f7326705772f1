"""Keys at the gateway's door: who is let in, to what, how often, and what is written of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from opswright.serving.gateway.traffic_log import read
from opswright.serving.keys.store import Limits, Scope

if TYPE_CHECKING:
    from tests.serving.conftest import House

CONTROL = {"x-opswright-control": "control-token"}
EVERYWHERE = {"host": "10.0.0.7:8700"}


@pytest.fixture
def served(house: House) -> House:
    for endpoint in ("support", "orders"):
        house.rollout(endpoint).deploy(house.bundle("one"), None, 100)
    return house


@pytest.fixture
def key(served: House) -> Callable[..., dict[str, str]]:
    """The headers of a new key of somebody."""

    def make(name: str = "ada", scopes: tuple[Scope, ...] = ("ask",), **more: Any) -> dict[str, str]:
        limits = Limits.model_validate(more.pop("limits", {}))
        return {
            "authorization": f"Bearer {served.keys.create(name, scopes=scopes, limits=limits, **more).text}"
        }

    return make


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_until_there_is_a_key_everybody_of_this_machine_may_ask(served: House) -> None:
    assert served.chat("hello").status_code == 200
    served.keys.create("ada")
    assert code_of(served.chat("hello")) == (401, "invalid_api_key")
    served.keys.revoke("ada")
    assert code_of(served.chat("hello")) == (401, "invalid_api_key")  # revoking the last key opens nothing


def test_a_key_opens_the_gateway_under_any_address_and_its_name_is_in_each_row(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada, eve = key("ada"), key("eve")
    assert served.chat("one", ada | EVERYWHERE).status_code == 200
    assert served.chat("two", eve).status_code == 200
    assert [row.caller for row in read(served.workspace, "support")] == ["ada", "eve"]
    assert served.chat("three", {"authorization": ada["authorization"] + "x"}).status_code == 401


def test_a_revoked_key_is_refused_at_once(served: House, key: Callable[..., dict[str, str]]) -> None:
    ada = key("ada")
    assert served.chat("one", ada).status_code == 200
    served.keys.revoke("ada")
    assert served.chat("two", ada).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_kubernetes_probes_pass_without_a_key_on_any_address_and_tell_no_names(
    served: House, key: Callable[..., dict[str, str]], path: str
) -> None:
    for _ in range(2):  # before there is a key, and after
        reply = served.get(path, EVERYWHERE)
        assert reply.status_code == 200
        assert "support" not in reply.text
        key()
    assert served.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/-/state"),
        ("GET", "/nothing"),
        ("GET", "/healthz/"),
        ("GET", "/healthz/../v1/models"),
        ("GET", "//healthz"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/feedback"),
    ],
)
def test_everything_else_needs_a_key(
    served: House, key: Callable[..., dict[str, str]], method: str, path: str
) -> None:
    assert served.run(served.call(method, path, EVERYWHERE)).status_code == 403
    key()
    assert served.run(served.call(method, path, EVERYWHERE)).status_code == 401


def test_a_key_is_for_its_endpoints_alone(served: House, key: Callable[..., dict[str, str]]) -> None:
    orders = key("ada", endpoints=["orders"])
    assert code_of(served.chat("hello", orders)) == (403, "endpoint_not_allowed")
    assert served.chat("hello", orders, model="orders").status_code == 200
    assert [row["id"] for row in served.get("/v1/models", orders).json()["data"]] == ["orders"]
    said = {"id": "x", "model": "support", "thumb": "up"}
    assert code_of(served.run(served.call("POST", "/v1/feedback", orders, body=said)))[0] == 403
    for reply in (served.chat("hello", orders, model="x"), served.get("/v1/models/support", orders)):
        assert code_of(reply) == (404, "model_not_found")
        assert "(deployed: orders)" in reply.text


def test_prometheus_has_a_key_that_opens_the_figures_and_nothing_else(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    prometheus, ada = key("prometheus", scopes=("metrics",)), key("ada")
    assert served.get("/metrics", prometheus).status_code == 200
    assert code_of(served.chat("hello", prometheus)) == (403, "scope_missing")
    assert code_of(served.get("/metrics", ada)) == (403, "scope_missing")


def test_who_asks_too_often_is_told_when_to_come_again(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key("ada", limits={"requests_per_minute": 2})
    replies = [served.chat("hello", ada) for _ in range(5)]
    refused = [reply for reply in replies if reply.status_code != 200]
    assert {code_of(reply) for reply in refused} == {(429, "rate_limit_exceeded")}
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in refused)
    assert 2 <= len(replies) - len(refused) <= 4  # a minute may have ended among them
    assert served.chat("hello", key("eve")).status_code == 200


def test_a_budget_counts_what_was_really_used_and_outlives_the_gateway(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key("ada", limits={"budget_tokens": 300, "budget_period": "forever"})
    assert served.chat("hello", ada).status_code == 200  # 256 tokens were held for it, 7 used
    served.chat("hello", ada)
    served.close()
    served.open()
    served.wait(lambda: served.get("/readyz").status_code == 200, "it serves again")
    replies = [served.chat("hello", ada) for _ in range(10)]
    assert code_of(replies[-1]) == (429, "insufficient_quota")
    assert "retry-after" not in replies[-1].headers
    (found,) = served.keys.keys().values()
    used = served.usage.used(found)
    assert used.tokens == 7 * used.requests
    assert 300 - 274 < used.tokens <= 300


def test_a_request_that_fails_uses_no_tokens(served: House, key: Callable[..., dict[str, str]]) -> None:
    ada = key("ada", limits={"budget_tokens": 300})
    for _ in range(5):
        assert served.chat("too long", ada).status_code == 400
    (found,) = served.keys.keys().values()
    assert served.usage.used(found).tokens == 0


def test_feedback_is_given_by_who_asked_alone(served: House, key: Callable[..., dict[str, str]]) -> None:
    ada, eve = key("ada"), key("eve")
    number = served.chat("hello", ada).json()["id"]
    said = {"id": number, "model": "support", "thumb": "down"}
    assert served.run(served.call("POST", "/v1/feedback", eve, body=said)).status_code == 404
    assert served.run(served.call("POST", "/v1/feedback", ada, body=said)).status_code == 200


def test_the_workspaces_own_commands_need_no_key(served: House, key: Callable[..., dict[str, str]]) -> None:
    key()
    assert served.chat("hello", CONTROL).status_code == 200
    assert served.get("/-/state", CONTROL).status_code == 200
    assert served.get("/-/state", key("ada")).status_code == 403
    assert served.get("/v1/models", {"x-opswright-control": "guess"}).status_code == 401


def test_a_keys_file_that_cannot_be_trusted_lets_nobody_in(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key()
    assert served.chat("hello", ada).status_code == 200
    (served.workspace.root / "keys.json").chmod(0o666)
    assert code_of(served.chat("hello", ada)) == (503, "unavailable")
    assert served.get("/healthz").status_code == 200


def test_every_answer_to_a_request_is_held_and_paid_for(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key("ada", limits={"budget_tokens": 800, "budget_period": "forever"})
    assert code_of(served.chat("hello", ada, n=4, max_tokens=256)) == (429, "insufficient_quota")
    assert served.chat("hello", ada, n=3, max_tokens=100).status_code == 200
    assert spent(served) == 3 * 7


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_a_rail_withholds_was_made_and_is_paid_for(
    served: House, key: Callable[..., dict[str, str]], stream: bool
) -> None:
    served.rollout().deploy(served.bundle("one"), served.guardrails(), 100)
    ada = key("ada", limits={"budget_tokens": 800, "budget_period": "forever"})
    assert "withheld" in served.chat("tell me", ada, stream=stream).text
    assert spent(served) == 7
    assert "not here" in served.chat("a bomb", ada, stream=stream).text
    assert spent(served) == 7, "what rails refuse is never asked of the engine"


def test_a_long_prompt_of_the_older_form_is_held_for_too(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key("ada", limits={"budget_tokens": 300})
    body = {"model": "support", "prompt": "a word " * 2000, "max_tokens": 1}
    reply = served.run(served.call("POST", "/v1/completions", ada, body=body))
    assert code_of(reply) == (429, "insufficient_quota")


def spent(served: House) -> int:
    (found,) = served.keys.keys().values()
    return int(served.usage.used(found).tokens)


def test_an_error_of_the_gateways_own_is_told_in_openais_form_on_every_route(
    served: House, key: Callable[..., dict[str, str]]
) -> None:
    ada = key()

    def broken(request_id: str, caller: str) -> bool:
        raise RuntimeError("a fault")

    served.controller.endpoints["support"].feedback.knows = broken  # type: ignore[method-assign]
    said = {"model": "support", "id": "x", "thumb": "up"}
    reply = served.run(served.call("POST", "/v1/feedback", ada, body=said))
    assert code_of(reply) == (500, "internal")
    assert reply.json()["error"]["type"] == "server_error" and "a fault" not in reply.text
