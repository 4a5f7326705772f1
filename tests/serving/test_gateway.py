"""The gateway's face: answers, streams, errors, rails, who is let in, what is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from opswright.serving.gateway.openai_requests import MAX_BODY_BYTES
from opswright.serving.gateway.traffic_log import TrafficRow, read

if TYPE_CHECKING:
    from tests.serving.conftest import House

CONTROL = {"x-opswright-control": "control-token"}


@pytest.fixture
def guarded(house: House) -> House:
    house.rollout().deploy(house.bundle("one"), house.guardrails(), 100)
    house.server.asked.clear()
    return house


def rows(house: House) -> list[TrafficRow]:
    return read(house.workspace, "support")


def events(body: str) -> list[dict[str, object]]:
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_question_is_answered_in_openais_form_and_says_who_answered(served: House) -> None:
    reply = served.chat("where is my card?", {"x-request-id": "r-7"})
    answer = reply.json()
    assert reply.status_code == 200
    assert answer["choices"][0]["message"]["content"] == "answer of 1"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert reply.headers["x-opswright-release"].startswith("v1-")
    assert reply.headers["x-opswright-route"] == "stable"
    assert reply.headers["x-request-id"] == "r-7"


def test_the_engine_gets_the_chat_as_it_was_sent(served: House) -> None:
    parts = [{"type": "text", "text": "where is "}, {"type": "text", "text": "my card?"}]
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": parts}]
    served.chat("", messages=messages)
    sent = json.loads(served.server.asked[-1][1])
    expected = [{"role": "system", "content": "be short"}, {"role": "user", "content": "where is my card?"}]
    assert sent == expected


def test_an_answer_is_streamed_in_chunks_that_end_with_reason_usage_and_done(served: House) -> None:
    reply = served.chat("where is my card?", stream=True, stream_options={"include_usage": True})
    chunks = events(reply.text)
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])  # type: ignore[index]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert said == "answer of 1"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"  # type: ignore[index]
    assert chunks[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert rows(served)[-1].output == "answer of 1"


def test_every_request_of_a_user_is_written_down_and_no_probe(served: House) -> None:
    served.chat("where is my card?", {"x-request-id": "r-1"})
    served.chat("and my pin?", CONTROL)
    (row,) = rows(served)
    assert (row.id, row.text, row.output, row.status) == ("r-1", "where is my card?", "answer of 1", "ok")
    assert row.release.startswith("v1-") and row.model_version == 1 and row.latency_ms > 0
    assert row.time.endswith("Z")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"messages": []}, 400, "bad_request"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "bad_request"),
        ({"n": 9}, 400, "bad_request"),
        ({"name": "nothing"}, 400, "bad_request"),
        ({"tools": [{"type": "function"}]}, 400, "bad_request"),
        ({"temperature": 3}, 400, "bad_request"),
        ({"max_tokens": 0}, 400, "bad_request"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    served: House, fields: dict[str, Any], status: int, code: str
) -> None:
    reply = served.chat("hello", **fields)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["message"]


def test_a_body_that_is_no_json_or_too_large_is_refused_before_it_is_kept(served: House) -> None:
    broken = served.run(served.call("POST", "/v1/chat/completions", content=b"{"))
    large = served.run(served.call("POST", "/v1/chat/completions", content=b"x" * (MAX_BODY_BYTES + 1)))
    assert broken.status_code == 400
    assert large.status_code == 413
    assert large.json()["error"]["code"] == "request_too_large"
    assert not served.server.asked


def test_null_means_the_default_as_openais_clients_send_it(served: House) -> None:
    reply = served.chat(
        "hello", temperature=None, top_p=None, stop=None, n=None, stream_options=None, user=None
    )
    assert reply.status_code == 200


def test_a_prompt_the_engine_cannot_take_is_the_callers_error(served: House) -> None:
    reply = served.chat("too long")
    assert reply.status_code == 400
    assert "takes 255" in reply.json()["error"]["message"]
    assert rows(served)[-1].finish == "error: AskError"
    assert served.chat("too long", stream=True).status_code == 400


def test_what_a_rail_blocks_never_reaches_the_engine(guarded: House) -> None:
    reply = guarded.chat("how do i build a bomb?")
    choice = reply.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("not here", "content_filter")
    assert reply.headers["x-opswright-rail"] == "topics"
    assert not guarded.server.asked
    assert (rows(guarded)[-1].status, rows(guarded)[-1].rail) == ("blocked", "topics")


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_lets_slip_never_reaches_the_user(guarded: House, stream: bool) -> None:
    reply = guarded.chat("tell me", stream=stream)
    assert "secret" not in reply.text
    assert "withheld" in reply.text
    assert rows(guarded)[-1].rail == "pii"


def test_an_earlier_message_is_held_against_the_rails_too(guarded: House) -> None:
    messages = [{"role": "user", "content": "a bomb"}, {"role": "user", "content": "go on"}]
    assert guarded.chat("", messages=messages).headers["x-opswright-rail"] == "topics"


def test_a_rail_that_fails_lets_nothing_through(house: House) -> None:
    house.rollout().deploy(house.bundle("one"), None, 100)
    house.rollout().deploy(house.bundle("one"), house.guardrails(breaks=True), 100, probes=())
    house.server.asked.clear()
    reply = house.chat("hello")
    assert reply.status_code == 500
    assert "a rail failed" in reply.json()["error"]["message"]
    assert not house.server.asked
    assert rows(house)[-1].status == "error"


def test_an_engine_that_says_it_is_another_release_is_not_passed_on(served: House) -> None:
    served.server.ails[1] = "liar"
    reply = served.chat("hello")
    assert reply.status_code == 500
    assert "v9-somebody answered" in reply.json()["error"]["message"]


def test_a_failing_engine_gives_an_error_without_paths_and_is_written_down(served: House) -> None:
    served.server.ails[1] = "error"
    reply = served.chat("hello")
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "server_error")
    assert "Log:" not in reply.text
    assert rows(served)[-1].status == "error"
    assert served.chat("hello", stream=True).status_code == 500


def test_a_request_survives_the_death_of_its_engine(served: House) -> None:
    served.server.ails[1] = "dead"
    reply = served.chat("hello")
    assert reply.status_code == 200
    assert served.server.loads == [1, 1]
    assert [row.status for row in rows(served)] == ["ok"]


def test_a_prompt_that_kills_the_engine_does_not_do_so_for_ever(served: House) -> None:
    reply = served.chat("poison")
    assert reply.status_code == 503
    assert sum("poison" in messages for _, messages in served.server.asked) == 2
    assert served.chat("hello").status_code == 200


def test_readiness_is_a_real_inference(served: House) -> None:
    proofs = served.server.proofs
    ready = served.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert served.server.proofs > proofs
    served.server.ails[1] = "liar"  # says it is loaded, and answers its proof as itself
    assert served.get("/readyz").status_code == 200
    served.server.is_up = False
    assert served.get("/readyz").status_code == 503


def test_a_house_without_releases_lives_but_is_not_ready(house: House) -> None:
    assert house.get("/healthz").json()["status"] == "ok"
    assert house.get("/readyz").status_code == 503
    assert house.get("/v1/models").json() == {"object": "list", "data": []}
    assert house.chat("hello").status_code == 404


def test_models_are_the_endpoints(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 30)
    (row,) = served.get("/v1/models").json()["data"]
    assert (row["id"], row["canary_percent"]) == ("support", 30)


def test_metrics_count_what_was_answered(guarded: House) -> None:
    guarded.chat("hello")
    guarded.chat("a bomb")
    text = guarded.get("/metrics").text
    assert 'route="stable",status="ok"} 1.0' in text
    release = guarded.chat("hello").headers["x-opswright-release"]
    assert f'opswright_blocked_total{{endpoint="support",rail="topics",release="{release}"}} 1.0' in text
    assert "opswright_requests_in_flight 0.0" in text


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_a_page_of_another_site_is_turned_away(served: House, headers: dict[str, str]) -> None:
    assert served.chat("hello", headers).status_code == 403
    assert not served.server.asked


def test_a_local_page_is_let_in(served: House) -> None:
    assert served.chat("hello", {"origin": "http://localhost:7860"}).status_code == 200


def test_with_a_token_only_its_bearer_is_answered(house: House, reopened: Callable[[str], None]) -> None:
    reopened("s3cret")
    assert house.get("/healthz").status_code == 200
    assert house.get("/v1/models").status_code == 401
    assert house.get("/v1/models", {"authorization": "Bearer wrong"}).status_code == 401
    assert (
        house.get("/v1/models", {"authorization": "Bearer s3cret", "host": "example.org"}).status_code == 200
    )


@pytest.fixture
def reopened(house: House) -> Callable[[str], None]:
    def again(token: str) -> None:
        house.close()
        house.token = token
        house.open()

    return again


def test_only_the_workspaces_own_token_may_choose_a_release_or_see_the_state(served: House) -> None:
    served.rollout().deploy(served.bundle("two"), None, 1)
    canary = served.rollout().fleet.life("support").releases
    second = next(name for name in canary if name.startswith("v2-"))
    wish = {"x-opswright-release": second, "x-session-id": "someone"}
    assert served.chat("hello", wish).headers["x-opswright-release"] != second
    assert served.chat("hello", wish | CONTROL).headers["x-opswright-release"] == second
    assert served.get("/-/state").status_code == 403
    assert served.get("/-/state", CONTROL).status_code == 200
