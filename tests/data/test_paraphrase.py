"""Which texts are taken as a question in other words, and which are refused."""

from __future__ import annotations

import pytest

from opswright.data.alterations import altered, reworded_fault
from opswright.data.columns import Columns
from opswright.data.paraphrase import paraphrase_fault
from opswright.data.sample import Sample
from opswright.data.shapes import to_sample

SAID = 'Please send 3 parcels to Anna Weber by 12:30, marked "fragile", with `ship --fast` and api_key'


@pytest.mark.parametrize(
    ("said", "other"),
    [
        ("how do i change my password", "what is the way to set another password"),
        (
            SAID,
            'By 12:30 let 3 parcels go to Anna Weber; mark them "fragile" and use `ship --fast`, api_key',
        ),
        ("I don't know what's wrong with it", "No idea why it fails"),
        ("What's the weather in Paris?", "In Paris, how is the weather?"),
        ("WHERE IS MY CARD", "my card has not come yet"),
        ("bring tea and/or milk, as I'm late", "as time is short, tea or milk please"),
        (
            "\u043a\u0430\u043a \u0441\u043c\u0435\u043d\u0438\u0442\u044c \u0435\u0433\u043e",
            "\u043a\u0430\u043a \u0435\u0433\u043e \u043f\u043e\u043c\u0435\u043d\u044f\u0442\u044c",
        ),
    ],
)
def test_another_wording_is_taken(said: str, other: str) -> None:
    assert paraphrase_fault(said, other) is None


@pytest.mark.parametrize(
    ("said", "other", "fault"),
    [
        ("send it", "", "empty"),
        ("send it", " \n\t ", "empty"),
        ("send it now", "Send  it NOW", "the same text"),
        ("send it now", "now\0 please post it", "control characters"),
        ("send it now", "now " * 100, "much longer"),
        ("pay 3 bills", "settle the bills", "numbers differ"),
        ("pay the bills", "settle 3 bills", "numbers differ"),
        ("pay 3,50 euros", "settle 3.50 euros", "numbers differ"),
        ("pay 3 and 3", "settle 3", "numbers differ"),
        ("fly me to Oslo", "i want to fly north", "name lost"),
        ("call NASA now", "phone the agency", "name lost"),
        ("run `ls -l` here", "run ls here", "code or address lost"),
        ("open https://a.example/x?y=z now", "open the page", "code or address lost"),
        ("mail to bob@a.example", "write to bob", "code or address lost"),
        ("look into /etc/hosts now", "check the list of hosts", "code or address lost"),
        ("call main() once more", "run the program again", "code or address lost"),
        ("use --name=x here", "name it x", "code or address lost"),
        ("set max_tokens higher", "raise the token limit", "code or address lost"),
        ("fill in {name} here", "put the name here", "code or address lost"),
        ('say "good night" to all', "wish everybody well", "quoted text lost"),
        ("say 'good night' to all", "wish everybody well", "quoted text lost"),
        (
            "where is my card",
            "\u0433\u0434\u0435 \u043c\u043e\u044f \u043a\u0430\u0440\u0442\u0430",
            "other language",
        ),
        (
            "can you tell me where my new bank card is and when it arrives",
            "pouvez-vous me dire quand arrive ma nouvelle carte bancaire et o\u00f9 elle est",
            "other language",
        ),
    ],
)
def test_what_may_ask_for_something_else_is_refused(said: str, other: str, fault: str) -> None:
    assert paraphrase_fault(said, other) == fault


def test_words_that_the_answer_repeats_must_stay_and_the_answer_must_not_come_in() -> None:
    item = Sample.of("1", "play some jazz by the pianist", "play(genre='jazz')")
    assert reworded_fault(item, "put on swing by the pianist", "extract") == "words of the answer lost"
    assert reworded_fault(item, "let the pianist play jazz", "extract") is None
    river = Sample.of("2", "which river runs through the city", "Danube")
    assert (
        reworded_fault(river, "is it the danube that crosses the city", "generate") == "gives the answer away"
    )
    label = Sample.of("3", "where is my card", "card_arrival")
    assert reworded_fault(label, "it has not come yet", "classify") is None


def test_a_suites_own_paraphrase_comes_from_a_mapped_column_and_is_checked_too() -> None:
    columns = Columns(user="q", target="a", paraphrase="other")
    item = to_sample({"q": "where is my card", "a": "card", "other": "it has not come"}, columns, "1")
    changed = altered(item, "paraphrase", "classify")
    assert (
        changed is not None and changed.question == "it has not come" and item.question == "where is my card"
    )
    same = to_sample({"q": "where is my card", "a": "card", "other": "Where is my card"}, columns, "1")
    assert altered(same, "paraphrase", "classify") is None
    without = to_sample({"q": "where is my card", "a": "card", "other": ""}, columns, "1")
    assert altered(without, "paraphrase", "classify") is None and without.metadata == {}


def test_a_long_hostile_text_is_read_in_no_time() -> None:
    for piece in ("a_", "a.", "a@", "'", '"a ', "://", "Ab'", "--", "/a", "1,"):
        assert paraphrase_fault(piece * 20_000, "x " + piece * 20_000) is None
