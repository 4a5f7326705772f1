"""Five hundred malformed requests: each is told so, and the gateway goes on as before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.serving.conftest import House

WRONG: Any = st.one_of(
    st.booleans(),
    st.integers(max_value=-2),
    st.integers(min_value=2**64),
    st.floats(min_value=1e9),
    st.text(min_size=1, max_size=20).filter(lambda text: text not in ("auto", "none", "default")),
    st.lists(st.integers(), min_size=5, max_size=6),
    st.dictionaries(st.text(max_size=5), st.integers(), min_size=1, max_size=3),
)
NUMBERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "top_logprobs", "n")
OBJECTS = ("stream_options", "response_format")
REFUSED = ("frequency_penalty", "presence_penalty", "logit_bias", "functions", "audio", "best_of", "nonsense")
SEEDS = st.one_of(st.integers(min_value=2**63), st.sampled_from(("7", "", 0.5, True, [1], {})))
FIELDS = st.one_of(
    st.tuples(st.sampled_from((*NUMBERS, *OBJECTS, *REFUSED, "tools", "tool_choice", "service_tier")), WRONG),
    st.tuples(st.just("seed"), SEEDS),
    st.tuples(st.sampled_from(("stream", "logprobs")), st.sampled_from(("maybe", 2, -1, [], {}, 0.5))),
    st.tuples(st.just("stop"), st.sampled_from(("", ["a"] * 5, [1], {}, 7, [""]))),
    st.tuples(st.just("user"), st.one_of(st.integers(), st.text(min_size=513, max_size=520))),
)
ROLES = ("user", "assistant", "system", "developer")
CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
CONTENT: Any = st.sampled_from((None, 7, True, [{"type": "image_url"}], [7], {"text": "a"}))
MESSAGES: Any = st.one_of(
    st.sampled_from(([], None, "hello", [{"role": "user"}], [{"role": "tool", "content": "x"}])),
    st.lists(st.one_of(st.text(), st.integers(), st.none()), min_size=1, max_size=3),
    st.builds(lambda content: [{"role": "user", "content": content}], CONTENT),
    st.builds(
        lambda role: [{"role": role, "content": "hi"}], st.text(max_size=8).filter(lambda r: r not in ROLES)
    ),
    st.just([{"role": "user", "content": "x", "tool_calls": [CALL]}]),
    st.just([{"role": "user", "content": "x"}] * 257),
)
GOOD = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
BODIES = st.one_of(
    FIELDS.map(lambda field: json.dumps({**GOOD, field[0]: field[1]}).encode()),
    MESSAGES.map(lambda messages: json.dumps({**GOOD, "messages": messages}).encode()),
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.integers(0, len(json.dumps(GOOD)) - 1).map(lambda cut: json.dumps(GOOD).encode()[:cut]),
    st.sampled_from(
        [b"null", b"[]", b"7", b'"text"', b"{}", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"NaN"]
    ),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, path=st.sampled_from(("/v1/chat/completions", "/v1/completions")))
@example(body=json.dumps({**GOOD, "seed": 2**63}).encode(), path="/v1/chat/completions")
@example(body=json.dumps({"model": "support", "prompt": [1, 2]}).encode(), path="/v1/completions")
@example(
    body=b'{"model":"support","messages":[{"role":"user","content":"\\ud800"}]}', path="/v1/chat/completions"
)
@example(body=b'{"model":"support","prompt":"x","temperature":NaN}', path="/v1/completions")
def test_what_is_malformed_is_told_so(served: House, body: bytes, path: str) -> None:
    reply = served.run(served.call("POST", path, content=body))
    assert 400 <= reply.status_code < 500, (reply.status_code, body)
    assert reply.json()["error"]["message"]
    assert not served.server.generations


def test_and_an_ordinary_request_is_answered_after_them(served: House) -> None:
    assert served.chat("hello").status_code == 200
