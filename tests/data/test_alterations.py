"""Samples altered in ways that leave the right answer right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opswright.data.alterations import ALTERATIONS, altered
from opswright.data.sample import Sample

ASKED = "Could you please transfer forty dollars to Ravintola"


def said(sample: Sample | None) -> str:
    assert sample is not None
    return sample.question


def test_a_label_stands_under_capitals_typos_and_a_stray_sentence() -> None:
    sample = Sample.of("1", ASKED, "transfer")
    assert said(altered(sample, "case", "classify")) == ASKED.upper()
    typos = said(altered(sample, "typos", "classify"))
    assert sorted(typos) == sorted(ASKED) and sum(a != b for a, b in zip(typos, ASKED, strict=True)) == 2
    prefixed = said(altered(sample, "prefix", "classify"))
    assert prefixed.endswith(f". {ASKED}") and len(prefixed) > len(ASKED) + 10


def test_choices_and_passages_all_change_their_place_and_nothing_else_does() -> None:
    sample = Sample.of("1", ASKED, "b", choices=("a", "b", "c"), contexts=("one", "two"), group="g")
    found = altered(sample, "order", "choose")
    assert found is not None and (found.choices, found.contexts) == (("c", "a", "b"), ("two", "one"))
    assert replace(found, choices=sample.choices, contexts=sample.contexts) == sample
    assert altered(Sample.of("1", ASKED, "b", contexts=("one",)), "order", "answer") is None


@pytest.mark.parametrize("alteration", [one for one in ALTERATIONS if one != "order"])
def test_an_alteration_is_the_same_on_every_run_and_keeps_all_else(alteration: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first question here"},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": ASKED},
    ]
    own = {"paraphrase": f"what I want to know: {ASKED}"}
    sample = Sample("1", tuple(messages), ("yes",), tags={"a": "b"}, group="g", metadata=own)
    found = altered(sample, alteration, "classify")  # type: ignore[arg-type]
    assert found is not None and found == altered(sample, alteration, "classify")  # type: ignore[arg-type]
    assert found.messages[:3] == sample.messages[:3] and found.messages[3] != sample.messages[3]
    assert (found.id, found.targets, found.tags, found.group) == ("1", ("yes",), {"a": "b"}, "g")


def test_words_that_the_answer_repeats_are_left_alone_and_so_is_their_case() -> None:
    """Whoever copies a misspelt name copies it wrong, and would be right to."""
    call = json.dumps({"amount": "forty dollars", "to": "Ravintola"})
    for at in range(200):
        typos = said(altered(Sample.of(str(at), ASKED, call), "typos", "extract"))
        assert typos != ASKED and "forty dollars to Ravintola" in typos
    assert altered(Sample.of("1", ASKED, call), "case", "extract") is None
    assert altered(Sample.of("1", "Ravintola", "Ravintola"), "typos", "answer") is None


def test_what_an_alteration_cannot_change_is_none() -> None:
    assert altered(Sample.of("1", "\u0939\u093f\u0928\u094d\u0926\u0940", "a"), "case", "classify") is None
    assert altered(Sample.of("1", "2 + 2", "4"), "typos", "classify") is None
    parts = ({"role": "user", "content": [{"type": "text", "text": ASKED}]},)
    assert altered(Sample("1", parts, ("a",)), "prefix", "classify") is None
    assert altered(Sample("1", ({"role": "system", "content": "x"},), ("a",)), "prefix", "classify") is None
