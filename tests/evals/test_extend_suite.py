"""A suite with more items asks and scores as it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opswright.core.errors import AskError
from opswright.data.sample import Sample
from opswright.evals.suites import load_suite
from opswright.evals.suites.extend import EARLIER_SLICE, NEW_SLICE, extend_suite

SUITE = """
task: answer
summary: Questions over passages.
prompt:
  system: Be brief.
  template: "{{ contexts[0] }}: {{ question }}"
  few_shot: {file: shots.jsonl, n: 3, seed: 7}
scorers:
  - {name: regex, pattern: "ye+s", label: says_yes}
  - {name: token_f1, take: "answer: (.*)"}
  - {name: json_schema, schema: {file: schema.json}}
  - {name: warmth, file: own.py}
slices: {by: [tone], groups: {shouted: {tone: [loud]}}}
max_new_tokens: 99
min_items: 2
licence: CC0
samples:
  - {id: a, text: is it, target: 'yes', contexts: [it is], tags: {tone: loud}, group: g1}
  - {id: b, text: was it, target: 'no', contexts: [it was not], tags: {tone: soft}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    shots = ({"text": f"will {n} do", "target": str(n), "contexts": [f"{n} will"]} for n in range(9))
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(one) + "\n" for one in shots))
    (tmp_path / "schema.json").write_text("{}")
    (tmp_path / "own.py").write_text("raise SystemExit('never run')")
    (tmp_path / "asks.yaml").write_text(SUITE)
    return tmp_path / "asks.yaml"


def test_everything_but_the_items_is_as_it_was(path: Path, tmp_path: Path) -> None:
    first = load_suite(path)
    new = Sample.of("n", "can it", "maybe", contexts=("it can",), tags={"tone": "soft"})
    grown = extend_suite(first, [new], tmp_path / "grown")
    assert (grown.name, grown.task, grown.licence, grown.max_new_tokens) == ("asks", "answer", "CC0", 99)
    assert [spec.document() for spec in grown.specs] == [spec.document() for spec in first.specs]
    assert grown.prompt.document() == first.prompt.document()
    by_id = {item.id: item for item in grown.items}
    assert [grown.prompt.chat(by_id[one.id]) for one in first.items] == [
        first.prompt.chat(i) for i in first.items
    ]
    assert by_id["a"].group == "g1" and by_id["a"].targets == ("yes",)
    assert {"loud", "soft", "shouted", EARLIER_SLICE, NEW_SLICE} == set(grown.slices())
    assert by_id["n"].tags == {"tone": "soft", "origin": "new"}
    again = extend_suite(grown, [Sample.of("m", "may it", "so", contexts=("x",))], tmp_path / "again")
    assert {one.id for one in again.items if one.tags["origin"] == "earlier"} == {"a", "b", "n"}


def test_a_new_item_with_an_old_id_keeps_both(path: Path, tmp_path: Path) -> None:
    grown = extend_suite(load_suite(path), [Sample.of("a", "q", "x", contexts=("c",))], tmp_path / "grown")
    assert sorted(one.id for one in grown.items) == ["a", "a-2", "b"]


def test_a_suite_of_several_turns_is_refused(tmp_path: Path) -> None:
    turns = tmp_path / "turns.yaml"
    turns.write_text(
        "task: chat\nturns: reference\nsamples:\n  - id: t\n    messages:\n"
        "      - {role: user, content: hi}\n"
        "      - {role: assistant, content: hello}\n      - {role: user, content: bye}\n"
        "      - {role: assistant, content: so long}\n"
    )
    with pytest.raises(AskError, match="asks for several turns"):
        extend_suite(load_suite(turns), [], tmp_path / "grown")
    assert not (tmp_path / "grown").exists()
