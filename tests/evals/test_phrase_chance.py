"""The chance of phrases: an exact case, a simulated language, copies that are no evidence."""

from __future__ import annotations

import random
from math import prod

from opswright.evals.phrase_chance import PhraseChance


def test_in_a_language_of_independent_words_the_chance_is_that_of_the_words() -> None:
    draw = random.Random(1)
    shares = {"red": 0.3, "blue": 0.25, "green": 0.2, "grey": 0.15, "pink": 0.1}
    usual = PhraseChance([])
    usual.add(" ".join(draw.choices(list(shares), list(shares.values()), k=40)) for _ in range(2000))
    for _ in range(20):
        phrase = draw.choices(list(shares), k=8)
        expected = prod(shares[word] for word in phrase)
        if expected < 1e-6:  # then nearly no text holds it
            assert 0.5 < usual.of(phrase, draw.choice([*shares]), draw.choice([*shares])) / expected < 2


def test_a_phrase_that_goes_on_as_usual_is_likelier_than_one_beside_a_stranger() -> None:
    draw = random.Random(2)
    names, places = ["anna", "boris", "carla"], ["rome", "oslo", "lima"]
    usual = PhraseChance(["dora took the train", "how are you", "what is new", "come in"])
    usual.add(f"{draw.choice(names)} took the train to {draw.choice(places)}" for _ in range(300))
    phrase = ["dora", "took", "the", "train"]
    assert usual.of(phrase, None, "to") > 10 * usual.of(phrase, None, "rome")


def test_many_copies_of_a_phrase_do_not_make_it_common() -> None:
    draw = random.Random(3)
    words = [f"w{n}" for n in range(500)]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(1000)]
    phrase = ["w1", "w2", "w3", "w4"]
    once = PhraseChance([" ".join(phrase)])
    once.add(texts)
    often = PhraseChance([" ".join(phrase)])
    often.add([*texts, *(f"{text} {' '.join(phrase)} {text}" for text in texts[:200])])
    assert often.of(phrase, "w9", "w8") < 10 * once.of(phrase, "w9", "w8") < 1e-8


def test_what_all_phrases_are_wrapped_in_says_nothing_of_one() -> None:
    draw = random.Random(4)
    words = [f"w{n}" for n in range(300)]
    asked = [" ".join(draw.choices(words, k=4)) for _ in range(300)]
    usual = PhraseChance(asked)
    usual.add(f"dear all {text} many thanks" for text in asked)
    assert all(usual.of(text.split(), "all", "many") < 1e-6 for text in asked)


def test_before_any_text_was_seen_nothing_breaks() -> None:
    assert 0 <= PhraseChance([]).of(["a", "b", "c", "d"], None, None) <= 1
