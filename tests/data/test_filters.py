from __future__ import annotations

import pytest

from opswright.core.errors import AskError
from opswright.data.filters import FILTERS, make_filter
from opswright.data.sample import Sample

PROSE = (
    "The committee met on Tuesday to discuss the state of the old bridge. It had been closed since spring, "
    "and most of the members thought that it would have to be rebuilt before the winter came. "
    "An engineer from the city spoke with them about the costs, which are higher than in the last plan. "
    "They will vote on it next week, when the report of the second firm has been read by everyone."
)


def why(asked: str, text: str, **more: object) -> str | None:
    return make_filter(asked)[1](Sample.of("1", text, "yes", **more))


@pytest.mark.parametrize("name", FILTERS)
def test_ordinary_prose_passes_every_filter(name: str) -> None:
    assert why(name, PROSE) is None


@pytest.mark.parametrize(
    ("asked", "text", "says"),
    [
        ("length:min_chars=50", "too short", "fewer than 50"),
        ("length:min_chars=1:max_chars=50", PROSE, "more than 50"),
        ("encoding", "the caf\u00c3\u00a9 is closed", "1 damaged"),
        ("encoding", "what\u00e2\u20ac\u2122s that", "1 damaged"),
        ("encoding", "a \ufffd b", "1 damaged"),
        ("encoding", "a \x00 b", "1 damaged"),
        ("repetition", "buy it now\n" * 20, "of its lines are repeated"),
        ("repetition", " ".join(["spam eggs ham"] * 20 + [f"w{i}" for i in range(30)]), "makes up"),
        ("repetition:max_top_share=1", f"{PROSE} {PROSE}", "repeated runs of 10 words"),
        ("prose", "a b c", "4 words, not 50"),
        ("prose", PROSE + " ..." * 20, "'#' and '...'"),
        ("prose", " ".join(["12345"] * 60), "have a letter"),
        ("prose", " ".join(["lorem"] * 60), "0 of 8 English stop words"),
        ("web_page", "Home\nNews\nAbout us\nContact", "shorter than 30"),
        ("web_page", "Please enable JavaScript to see this page of our company.", "enable javascript"),
        ("personal_data", "write to ann@example.org or +49 30 1234567", "1 email, 1 phone"),
    ],
)  # fmt: skip
def test_each_filter_says_what_it_objects_to(asked: str, text: str, says: str) -> None:
    found = why(asked, text)
    assert found is not None and says in found


def test_rows_whose_consent_or_licence_says_no_are_left_out() -> None:
    assert why("consent", PROSE, tags={"consent": "No"}) == "consent is 'No'"
    assert why("consent", PROSE, tags={"licence": "CC0-1.0", "consent": "yes"}) is None


def test_text_in_other_scripts_is_not_damaged() -> None:
    damaged = [why("encoding", text) for text in ("Привет", "नमस्ते", "你好", "Ångström Ão", "a\tb\r\nc", "😀")]
    assert damaged == [None] * 6


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("lenght", "unknown filter 'lenght' .*Did you mean 'length'"),
        ("length:min=3", "no limit 'min' .*min_chars"),
        ("length:min_chars=many", "'many', not a number"),
        ("length:min_chars=-1", "must be 0 or more"),
        ("length:min_chars=nan", "must be 0 or more"),
    ],
)
def test_a_filter_that_cannot_be_made_is_refused(asked: str, says: str) -> None:
    with pytest.raises(AskError, match=says):
        make_filter(asked)
