"""One row type for every task: what is asked, what is learned, and that nothing is altered on its way."""

from __future__ import annotations

import json

from opswright.data.sample import Sample, text_of

CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"a_b": 1}'}}
CHAT = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
)


def test_a_question_with_its_answer_is_learned_as_a_chat() -> None:
    one = Sample.of("1", "max_new_tokens?", "book_flight")
    assert one.prompt == ({"role": "user", "content": "max_new_tokens?"},)
    assert one.conversation[-1] == {"role": "assistant", "content": "book_flight"}
    assert (one.answer, one.question) == ("book_flight", "max_new_tokens?")


def test_a_chat_keeps_its_system_prompt_its_turns_and_its_tool_calls() -> None:
    one = Sample("1", CHAT)
    assert one.prompt == CHAT[:-1]
    assert one.conversation == CHAT
    assert one.answer is None  # what should be said is a call, not a text
    assert one.question == "weather?"


def test_what_should_be_answered_to_a_chat_that_ends_with_the_user() -> None:
    one = Sample("1", CHAT[:4], ("It is sunny.", "Sunny."))
    assert one.prompt == CHAT[:4]
    assert one.conversation[-1]["content"] == "It is sunny."


def test_a_document_gives_the_sample_back() -> None:
    one = Sample("1", CHAT, tags={"lang": "hi"}, group="g", contexts=("c",), rejected=("no",))
    assert Sample.from_document(json.loads(json.dumps(one.document()))) == one
    assert "choices" not in one.document()


def test_content_in_parts_is_read_as_its_text() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert text_of(parts) == "a\nb"
    assert text_of({"role": "user", "content": None}) == ""
