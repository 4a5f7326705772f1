from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from opswright.data.personal import find_personal_data, mask, mask_sample
from opswright.data.sample import Sample


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail ann.lee+x@mail.example.co.uk now", "mail <email> now"),
        ("call +49 30 1234567 today", "call <phone> today"),
        ("call (212) 555-0187.", "call <phone>."),
        ("call +4915112345678", "call <phone>"),
        ("card 4111 1111 1111 1111, thanks", "card <card>, thanks"),
        ("pay to DE89 3704 0044 0532 0130 00", "pay to <iban>"),
        ("ssn 123-45-6789", "ssn <us_ssn>"),
        ("mail ann\uff20example.org now", "mail <email> now"),
        ("mail ann\u200b@exam\u00adple.org, \ud55c", "mail <email>, \ud55c"),
        ("card \uff14111\u200d111111111111", "card <card>"),
        ("host 192.168.0.17 is down", "host <ip_address> is down"),
    ],
)
def test_what_has_a_form_is_found_and_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-05-17 at 10:30:00", "born 17.05.2024", "version 1.2.3.4.5", "card 4111 1111 1111 1112",
        "DE00 3704 0044 0532 0130 00", "order 12345678", "pi is 3.14159265358979", "999.999.999.999 no",
        "1000 2000 items", "a@b", "@handle", "what is 7 + 3", "one \uff20 two\u200b",
        "0000 0000 0000 0000", "10-20-30 split", "",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert mask(text) == text


def test_precision_and_recall_on_planted_values() -> None:
    draw = random.Random(1)
    words = ["please", "send", "the", "invoice", "for", "my", "friend", "before", "week"]

    def card() -> str:
        digits = [4, *(draw.randrange(10) for _ in range(14))]
        doubled = [d if at % 2 == 0 else d * 2 - 9 * (d > 4) for at, d in enumerate(reversed(digits), 1)]
        return "".join(map(str, [*digits, -sum(doubled) % 10]))

    makers: dict[str, Callable[[], str]] = {
        "email": lambda: f"{draw.choice(words)}.{draw.randrange(99)}@{draw.choice(words)}.example.com",
        "card": card,
        "phone": lambda: f"+{draw.randrange(1, 99)} 171 {draw.randrange(10**5, 10**8)}",
        "ip_address": lambda: ".".join(str(draw.randrange(256)) for _ in range(4)),
    }  # fmt: skip
    hit = planted = wrong = 0
    for _ in range(500):
        kind = draw.choice(list(makers))
        text = f"{' '.join(draw.choices(words, k=5))} {makers[kind]()} {draw.choice(words)} {draw.random()}"
        found = [one.kind for one in find_personal_data(text)]
        planted += 1
        hit += kind in found
        wrong += len(found) - (kind in found)
    assert hit / planted >= 0.98 and wrong / planted <= 0.02


def test_masking_reaches_tool_calls_and_answers_and_leaves_the_rest_as_it_is() -> None:
    function = {"name": "mail", "arguments": '{"to": "ann@example.org"}'}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": function}]}
    messages = ({"role": "user", "content": " mail her_now "}, call)
    tags = {"by": "bo@example.org", "lang": "en"}
    sample = Sample("ann@example.org/1", messages, contexts=("ann@example.org",), tags=tags)
    masked = mask_sample(sample)
    assert masked.messages[0] == sample.messages[0] and masked.contexts == ("<email>",)
    assert masked.id == "<email>/1" and masked.tags == {"by": "<email>", "lang": "en"}
    assert masked.messages[1]["tool_calls"][0]["function"]["arguments"] == '{"to": "<email>"}'
