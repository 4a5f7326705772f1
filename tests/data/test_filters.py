from __future__ import annotations

from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.core.install import missing_modules
from opswright.data.filters import FILTERS, make_filter, modules_of
from opswright.data.filters.language import language, script_of
from opswright.data.filters.people import WORDS
from opswright.data.sample import Sample

PROSE = (
    "The committee met on Tuesday to discuss the state of the old bridge. It had been closed since spring, "
    "and most of the members thought that it would have to be rebuilt before the winter came. "
    "An engineer from the city spoke with them about the costs, which are higher than in the last plan. "
    "They will vote on it next week, when the report of the second firm has been read by everyone."
)


def why(asked: str, text: str, **more: object) -> str | None:
    return make_filter(asked)[1](Sample.of("1", text, "yes", **more))


ASKED = {"script": "script:only=Latin", "language": "language:only=en+de"}


@pytest.mark.parametrize("name", FILTERS)
def test_ordinary_prose_passes_every_filter(name: str) -> None:
    if missing_modules(modules_of([name])):
        pytest.skip(f"{name}: not installed")
    assert why(ASKED.get(name, name), PROSE) is None


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


def test_a_row_in_another_script_is_left_out_by_question_or_answer() -> None:
    judge = make_filter("script:only=latin+Greek")[1]
    russian = "Доброе утро"
    texts = ("Hello there", "7 + 3", "Καλημέρα", russian)
    assert [judge(Sample.of("1", text, "yes")) for text in texts] == [
        *[None] * 3,
        "the question is in Cyrillic script",
    ]
    assert judge(Sample.of("1", "Say good morning", russian)) == "the answer is in Cyrillic script"
    with pytest.raises(AskError, match="name the scripts"):
        make_filter("script")
    with pytest.raises(AskError, match=r"unknown script 'Cyrilic'.*Did you mean 'Cyrillic'"):
        make_filter("script:only=Latin+Cyrilic")


@pytest.mark.parametrize(
    "text", ["漢字", "ひらがな", "한국어", "русский", "हिन्दी", "العربية", "Ἑλλάς", "עברית", "ไทย"]
)
def test_a_script_that_is_found_in_a_text_can_be_asked_for(text: str) -> None:
    assert make_filter(f"script:only={script_of(text)}")[1](Sample.of("1", text, "x")) is None


def guess(text: str) -> dict[str, float]:
    return {"de": 0.995, "en": 0.005} if "und" in text else {"en": 0.6, "de": 0.4}


def test_a_row_goes_when_it_is_surely_in_no_wanted_language() -> None:
    def judge(question: str, answer: str, *only: str) -> str | None:
        return language(only or ("en",), 0.01, 12, guess)(Sample.of("1", question, answer))

    assert judge("Hunde und Katzen im Haus", "yes") == "the question is in 'de' (0.99)"
    assert judge("Tell me of dogs and cats", "Hunde und Katzen") == "the answer is in 'de' (0.99)"
    assert judge("Rot und 1", "yes") is None  # too short to tell
    assert judge("Tell me of dogs and cats", '{"a": "Hunde und Katzen"}') is None
    assert judge("perhaps German or not", "yes", "de") is None


def test_real_texts_are_told_apart_by_their_language() -> None:
    pytest.importorskip("py3langid")
    judge = make_filter("language:only=en+fr")[1]
    kept = ("Where is the nearest station, please?", "Où est la gare la plus proche, s'il vous plaît ?")
    gone = ("Wo ist bitte der nächste Bahnhof in der Stadt?", "Hvor er den nærmeste station i byen, tak?")
    assert [judge(Sample.of("1", text, "x")) is None for text in (*kept, *gone)] == [True, True, False, False]
    with pytest.raises(AskError, match=r"unknown language 'eng'.*Did you mean"):
        make_filter("language:only=eng")


def test_words_of_a_list_are_found_as_words_and_phrases_whatever_their_case(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\ufeff# a note\nDarn\nblue  moon\n悪い\n:-p\nright-hand\n\n", encoding="utf-8")

    def found(text: str, asked: str = "toxicity") -> str | None:
        return make_filter(asked, words)[1](Sample.of("1", text, "ok"))

    assert found("DARN it") == "listed: 'darn'"
    assert found("once in a Blue\nMoon, darn!") == "listed: 'blue moon', 'darn'"
    assert found("これは悪いです") == "listed: '悪い'" and found("no :-P") == "listed: ':-p'"
    assert found("my right-hand man") == "listed: 'right-hand'"
    assert [found(text) for text in ("darning socks", "blue", "moon blue", "# a note")] == [None] * 4
    assert found("darn", "toxicity:max_found=1") is None and found("darn darn", "toxicity:max_found=1")
    assert found("悪い", "toxicity:max_found=1") is None and found("悪い悪い", "toxicity:max_found=1")


@pytest.mark.parametrize("content", [b"", b"# only a note\n\n", b"\xff\xfe"])
def test_a_list_without_words_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(AskError, match="word list"):
        make_filter("toxicity", tmp_path / "words.txt")


def test_the_shipped_list_says_where_it_is_from() -> None:
    assert why("toxicity", "what the fuck") == "listed: 'fuck'"
    assert (
        "CC BY 4.0" in (WORDS.parent / "SOURCE.md").read_text() and (WORDS.parent / "LICENCE.txt").is_file()
    )
