"""OpenAI's own client against the gateway: what it sends is followed or refused, what it gets it can read."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx
import openai
import pytest

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from tests.serving.conftest import House

T = TypeVar("T")
Ask = Callable[[Callable[["AsyncOpenAI"], Awaitable[T]]], T]
HELLO: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
    },
}


@pytest.fixture
def ask(served: House) -> Ask[Any]:
    """Runs a call of the official client against the gateway."""

    async def called(call: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
        transport = httpx.ASGITransport(app=served.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
            url = "http://127.0.0.1:8700/v1"
            client = openai.AsyncOpenAI(
                api_key="none", base_url=url, http_client=cast(Any, http), max_retries=0
            )
            return await call(client)

    return lambda call: served.run(called(call))


def chat(**options: Any) -> Callable[[AsyncOpenAI], Awaitable[Any]]:
    return lambda client: client.chat.completions.create(**{"model": "support", "messages": HELLO, **options})


def text(**options: Any) -> Callable[[AsyncOpenAI], Awaitable[Any]]:
    return lambda client: client.completions.create(**{"model": "support", "prompt": "hello", **options})


def streamed(call: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Callable[[AsyncOpenAI], Awaitable[list[Any]]]:
    async def read(client: AsyncOpenAI) -> list[Any]:
        return [chunk async for chunk in await call(client)]

    return read


def test_a_chat_is_answered(ask: Ask[Any]) -> None:
    answer = ask(chat(max_tokens=5, user="somebody"))
    assert answer.choices[0].message.content == "answer of 1"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        4,
        3,
        7,
    )
    assert answer.object == "chat.completion" and answer.system_fingerprint.startswith("v1-")


def test_several_choices_are_asked_for_with_seeds_of_their_own(ask: Ask[Any], served: House) -> None:
    answer = ask(chat(n=3, seed=2**31 - 1))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [made.seed for made in served.server.generations] == [2**31 - 1, 0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 9)


def test_without_a_seed_each_request_gets_another(ask: Ask[Any], served: House) -> None:
    for _ in range(8):
        ask(chat(temperature=1.9))
    assert len({made.seed for made in served.server.generations}) == 8


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1, -1, -(2**63)])
def test_any_seed_is_one_that_engines_take(ask: Ask[Any], served: House, seed: int) -> None:
    ask(chat(seed=seed, temperature=1))
    ask(chat(seed=seed, temperature=1))
    first, second = (made.seed for made in served.server.generations)
    assert first == second and 0 <= first < 2**31


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_is_read_choice_by_choice_with_its_usage_at_the_end(ask: Ask[Any], n: int) -> None:
    *chunks, last = ask(streamed(chat(stream=True, n=n, stream_options={"include_usage": True})))
    said = dict.fromkeys(range(n), "")
    for chunk in chunks:
        said[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert said == dict.fromkeys(range(n), "answer of 1")
    assert sorted(c.choices[0].index for c in chunks if c.choices[0].finish_reason == "stop") == [*range(n)]
    assert last.choices == [] and last.usage.completion_tokens == 3 * n
    assert all(chunk.usage is None for chunk in chunks)


def test_a_legacy_completion_is_answered_whole_and_streamed(ask: Ask[Any], served: House) -> None:
    answer = ask(text(n=2))
    assert [choice.text for choice in answer.choices] == [" answer of 1"] * 2
    assert answer.object == "text_completion"
    assert {made.text for made in served.server.generations} == {"hello"}
    chunks = ask(streamed(text(stream=True)))
    assert "".join(chunk.choices[0].text for chunk in chunks) == " answer of 1"


def test_models_are_listed_and_retrieved(ask: Ask[Any]) -> None:
    assert [model.id for model in ask(lambda client: client.models.list()).data] == ["support"]
    assert ask(lambda client: client.models.retrieve("support")).id == "support"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        ask(lambda client: client.models.retrieve("nobody"))


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_tells_log_probabilities_chunk_by_chunk(ask: Ask[Any], n: int) -> None:
    chunks = ask(streamed(chat(stream=True, logprobs=True, n=n)))
    for number in range(n):
        mine = [one.choices[0] for one in chunks if one.choices[0].index == number]
        spelt = [token.token for one in mine if one.logprobs for token in one.logprobs.content]
        assert spelt == [" answer", " of", " 1"]
    silent = ask(streamed(chat(stream=True)))
    assert all(one.choices[0].logprobs is None for one in silent)


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_never_spell_an_answer_that_a_rail_withheld(
    ask: Ask[Any], served: House, stream: bool
) -> None:
    served.rollout("guarded").deploy(served.bundle("two"), served.guardrails(), 100)
    served.server.says = "so the secret is out"
    call = chat(model="guarded", stream=stream, logprobs=True, top_logprobs=1)
    told = ask(streamed(call)) if stream else [ask(call)]
    whole = "".join(one.model_dump_json() for one in told)
    assert "withheld" in whole and "secret" not in whole


def test_what_the_engine_can_is_passed_to_it(ask: Ask[Any], served: House) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    ask(chat(response_format=form, logprobs=True, top_logprobs=2, tools=[TOOL], stop="end"))
    (made,) = served.server.generations
    assert json.loads(made.json_schema) == schema
    assert (made.top_logprobs, made.stop) == (2, ("end",))
    assert json.loads(made.tools)[0]["function"]["name"] == "look_up"
    ask(chat(response_format={"type": "json_object"}, tools=[TOOL], tool_choice="none"))
    assert json.loads(served.server.generations[-1].json_schema) == {"type": "object"}
    assert served.server.generations[-1].tools == ""


def test_a_tool_call_and_its_result_make_the_round(ask: Ask[Any], served: House) -> None:
    served.server.says = '{"name": "look_up", "arguments": {"id": "7"}}'
    answer = ask(chat(tools=[TOOL])).choices[0]
    assert answer.finish_reason == "tool_calls" and answer.message.content is None
    (call,) = answer.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"id": "7"})
    chunks = ask(streamed(chat(tools=[TOOL], stream=True)))
    assert any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    served.server.says = "it is sent"
    result = {"role": "tool", "tool_call_id": call.id, "content": "sent"}
    messages = [*HELLO, answer.message.model_dump(exclude_none=True), result]
    assert ask(chat(tools=[TOOL], messages=messages)).choices[0].message.content == "it is sent"
    sent = json.loads(served.server.generations[-1].messages)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == call.id


def test_json_that_calls_no_offered_tool_is_text(ask: Ask[Any], served: House) -> None:
    served.server.says = '{"name": "drop_tables", "arguments": {}}'
    answer = ask(chat(tools=[TOOL])).choices[0]
    assert (answer.message.content, answer.finish_reason) == (served.server.says, "stop")


@pytest.mark.parametrize(
    "options",
    [
        {"frequency_penalty": 0.5},
        {"presence_penalty": -1},
        {"logit_bias": {"50256": -100}},
        {"store": True},
        {"modalities": ["audio"]},
        {"tool_choice": "required", "tools": [TOOL]},
        {"top_logprobs": 2},
        {"n": 9},
        {"extra_body": {"guided_regex": "a+"}},
        {"max_tokens": 4, "max_completion_tokens": 4},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "name": "Ann", "content": "hello"}]},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_what_cannot_be_followed_is_refused_in_words(
    ask: Ask[Any], served: House, options: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(chat(**options))
    assert refused.value.body["message"] and refused.value.type == "invalid_request_error"  # type: ignore[index]
    assert not served.server.generations


def test_values_that_ask_for_nothing_are_let_pass(served: House, ask: Ask[Any]) -> None:
    ask(chat(frequency_penalty=0, presence_penalty=0.0, logit_bias={}, store=False, modalities=["text"]))
    ask(chat(stream=None, stop=None, n=None, seed=None, temperature=None, response_format={"type": "text"}))
    spoken = [*HELLO, {"role": "assistant", "content": None, "tool_calls": None}, *HELLO]
    ask(chat(messages=spoken))
    assert len(served.server.generations) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/nowhere"),
        ("DELETE", "/v1/models/support"),
    ],
)
def test_every_route_that_is_not_there_says_so_in_openais_shape(
    served: House, method: str, path: str
) -> None:
    reply = served.run(served.call(method, path))
    assert reply.status_code in (404, 405)
    error = reply.json()["error"]
    assert (
        error["message"]
        and error["type"] == "invalid_request_error"
        and set(error)
        == {
            "message",
            "type",
            "param",
            "code",
        }
    )
