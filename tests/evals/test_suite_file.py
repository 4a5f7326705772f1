"""Suites as YAML beside the data: each kind, what their digest is over, and faults said with their line."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError
from opswright.evals.prompts import draw_examples
from opswright.evals.runner import run_suite
from opswright.evals.suites import load_suite, suite_names
from opswright.evals.suites.samples import read_file

TINY = Path(__file__).parent / "tiny"
TWO = "task: classify\nsamples: [{text: a, target: b}, {text: c, target: d}]\n"


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("kind", "answers", "scores"),
    [
        (
            "classify",
            {"a bright dot that moved by morning": "planet"},
            {"exact_match": 0.2, "known_label": 0.2},
        ),
        (
            "generate",
            {"Say it shorter: at this point in time": "At present."},
            {"token_f1": 0.5, "exact_match": 0, "short": 0.5},
        ),
        (
            "extract",
            {"Order: two coffees to go\nJSON:": '{"n": 2, "item": "coffee"}'},
            {"json_exact": 0, "json_field_f1": 0.4, "json_schema": 0.5},
        ),
        ("numeric", {"Three boxes of twelve eggs. How many eggs?": "36.0"}, {"numeric": 0.5, "strict": 0}),
        (
            "answer",
            {
                "[1] The notes were written by Ada Lovelace.\n[2] They appeared in 1843.\n"
                "Question: Who wrote it?": "Ada"
            },
            {"token_f1": 1 / 3},
        ),
        ("chat", {"Until when?": "6 pm"}, {"token_f1": 1, "exact_match": 1}),
    ],
)
def test_each_kind_of_suite_is_asked_and_scored(
    kind: str, answers: dict[str, str], scores: dict[str, float], parrot: Any
) -> None:
    suite = load_suite(TINY / f"{kind}.yaml")
    asked = [suite.prompt.chat(item)[-1]["content"] for item in suite.items]
    engine = parrot({**dict.fromkeys(asked, "?"), **answers})
    measured = run_suite(suite, engine, "m", slices=suite.slices())
    for name, wanted in scores.items():
        found = [item.scores[name] for item in measured.items]
        assert sum(found) / len(found) == pytest.approx(wanted), name


def test_a_suite_keeps_its_file_its_slices_and_the_order_of_its_scorers() -> None:
    suite = load_suite(TINY / "classify.yaml")
    assert (suite.name, suite.licence, len(suite.items)) == ("classify", "CC0 1.0", 5)
    slices = suite.slices()
    assert set(slices) == {"optical", "radio", "infrared", "faint"}
    assert slices["faint"] == {"instrument": {"radio", "infrared"}}
    assert [spec.metric for spec in load_suite(TINY / "numeric.yaml").specs] == ["numeric", "strict"]


def test_the_whole_chat_is_what_is_asked_and_a_system_message_comes_first() -> None:
    suite = load_suite(TINY / "chat.yaml")
    roles = [message["role"] for message in suite.prompt.chat(suite.items[0])]
    assert roles == ["system", "user", "assistant", "user"]
    suite = load_suite(TINY / "generate.yaml")
    assert suite.prompt.chat(suite.items[0])[0] == {
        "role": "system",
        "content": "Answer with the phrase alone.",
    }


def test_examples_are_drawn_from_training_and_never_from_what_is_asked() -> None:
    suite = load_suite(TINY / "answer.yaml")
    chat = suite.prompt.chat(suite.items[0])
    assert [message["role"] for message in chat] == ["user", "assistant", "user"]
    assert chat[1]["content"] == "London"  # the other example asks what the suite asks
    assert load_suite(TINY / "answer.yaml").digest == suite.digest
    pool = read_file(TINY / "shots.jsonl")
    with pytest.raises(AskError, match="2 examples were asked for, 1 of 2 can be given"):
        draw_examples(pool, 2, 0, suite.items)
    tied = [replace(one, group="g") for one in pool]
    with pytest.raises(AskError, match="0 of 2 can be given"):
        draw_examples(tied, 1, 0, [replace(suite.items[0], group="g")])


def test_two_sliced_tags_name_their_slices_apart(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": "x", "lang": "en", "site": "en"},
        {"text": "b", "label": "y", "lang": "de", "site": "us"},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    suite = load_suite(write(tmp_path, "samples: {file: rows.json}\nslices: {by: [lang, site]}\n"))
    assert set(suite.slices()) == {"lang=en", "lang=de", "site=en", "site=us"}


def test_a_suite_may_be_a_part_of_another(tmp_path: Path) -> None:
    text = "samples: {suite: clinc150, where: {domain: [banking]}}\nslices: {by: [domain]}\n"
    suite = load_suite(write(tmp_path, text))
    assert len(suite.items) == 450 and set(suite.slices()) == {"banking"}
    with pytest.raises(AskError, match=r"line 1: where: domain 'bankin'.*Did you mean 'banking'"):
        load_suite(write(tmp_path, text.replace("banking", "bankin")))


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ("", False),
        ("# a comment\n", False),
        ("prompt: {system: Be brief.}\n", True),
        ("scorers: [normalised_match]\n", True),
        ("min_items: 2\n", False),
    ],
)
def test_the_digest_is_over_all_that_decides_a_score(tmp_path: Path, change: str, is_new: bool) -> None:
    text = "samples: [{text: a, target: x}, {text: b, target: y}]\n"
    first = load_suite(write(tmp_path, text)).digest
    assert (load_suite(write(tmp_path, text + change)).digest != first) is is_new


def test_the_digest_changes_with_the_code_of_a_scorer_which_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('run')\n")
    text = "samples: [{text: a, target: x}]\nscorers: [{name: mine, file: own.py}]\n"
    first = load_suite(write(tmp_path, text)).digest
    (tmp_path / "own.py").write_text("raise SystemExit('again')\n")
    assert load_suite(write(tmp_path, text)).digest != first


TWO_SYSTEMS = """\
samples: [{messages: [{role: system, content: s}, {role: user, content: a}], target: x}]
prompt: {system: t}
"""
ONE = "samples: [{text: a, target: x}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: []\n", "line 1: the suite has no samples"),
        ("", "needs at least `samples`"),
        ("task: classify\n", "'samples' is missing"),
        ("samples:\n- {id: a, text: a}\n- {id: a, text: b}\n", r"line 3: two samples.*'a' .*1 and 2"),
        ("samples:\n- {text: a}\n- {text: b, targte: y}\n", "line 3: a sample has no field 'targte'"),
        ("samples:\n- {text: a, target: 1.0}\n", r"line 2: `targets` holds 1.0, which is not text"),
        (ONE + "promt: {}\n", r"line 2: unknown name 'promt'.*Did you mean 'prompt'"),
        (ONE + "prompt: {sistem: x}\n", r"line 2: unknown name 'sistem'.*Did you mean 'system'"),
        (ONE + "prompt:\n  template: '{{ qestion }}'\n", r"line 3: .*'qestion'.*Did you mean 'question'"),
        (ONE + "prompt:\n  template: '{{ question'\n", "line 3: the template is not valid Jinja"),
        (ONE + "prompt: {template: '{{ tags.lang }}'}\n", "the template does not render sample '00000'"),
        (ONE + "scorers:\n- exact_macth\n", r"line 3: unknown scorer.*Did you mean 'exact_match'"),
        (ONE + "scorers: [exact_match, exact_match]\n", "two scorers are called 'exact_match'"),
        (ONE + "scorers:\n- {name: mine, file: no.py}\n", "line 3: no scorer file at"),
        (ONE + "slices: {by: [lang]}\n", "no item of suite mine has the tag 'lang'"),
        (ONE + "task: chose\n", "line 2: task"),
        (ONE + "task: choose\n", "fewer than two choices"),
        (ONE + "name: other\n", "line 2: the suite is called 'other', its file 'mine'"),
        (ONE + "min_items: 5\n", "line 2: the suite has 1 samples, fewer than its min_items 5"),
        ("samples: [{text: a}]\n", "no sample has a right answer"),
        ("samples: {file: no.jsonl}\n", "no.jsonl"),
        ("samples: {file: x.jsonl, suite: clinc150}\n", "one of these"),
        (ONE + "prompt: {few_shot: {file: mine.jsonl, n: 1}}\n", "mine.jsonl"),
        (ONE + "samples: []\n", "line 2: 'samples' is given twice"),
        (TWO_SYSTEMS, "system message of its own"),
    ],
)  # fmt: skip
def test_a_faulty_suite_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AskError, match=message):
        load_suite(write(tmp_path, text))


def test_no_row_of_a_file_is_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,x\n,y\n")
    with pytest.raises(AskError, match=r"rows.csv, row 3: empty_text.*1 of 2 rows cannot be taken"):
        load_suite(write(tmp_path, "samples: {file: rows.csv}\n"))
    assert len(load_suite(write(tmp_path, "samples: {file: rows.csv, leave_out: true}\n")).items) == 1


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    for template in (
        "{{ question.__class__.__mro__ }}",
        "{{ tags.update({'a': 'b'}) }}",
        "{% include '/etc/passwd' %}",
        "{{ question * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ):
        with pytest.raises(AskError):
            load_suite(write(tmp_path, ONE + f'prompt:\n  template: "{template}"\n'))


def test_a_packages_suites_are_found_by_their_entry_points(tmp_path: Path) -> None:
    group = [EntryPoint("clinc", "opswright.evals.suites.clinc150:suite", "opswright.suites")]
    assert "clinc" in suite_names(group) and "snips" in suite_names(group)
    with pytest.raises(BackendError, match="is not the Suite 'clinc'"):
        load_suite("clinc", group)
    named = [EntryPoint("TOOLS", "opswright.evals.suites.snips:no_such", "opswright.suites")]
    with pytest.raises(BackendError, match="does not load"):
        load_suite("TOOLS", named)


def test_a_name_that_is_a_file_of_the_project_says_so(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    write(tmp_path / "suites", ONE)
    with pytest.raises(AskError, match=r"unknown suite 'mine'.*Did you mean the file suites/mine.yaml\?"):
        load_suite("mine")


def test_snips_is_700_tool_calls_of_seven_tools_that_fit_their_schemas() -> None:
    suite = load_suite("snips")
    assert len(suite.items) == 700 and len(suite.slices()) == 7 and suite.task == "extract"
    scorers = suite.load_scorers()
    for item in suite.items[::50]:
        assert [one.score(item, item.targets[0]).value for one in scorers] == [1, 1, 1, 1, 1]


def test_a_suite_takes_samples_of_a_named_suite_and_of_no_file_that_a_plan_would_not_hold(
    tmp_path: Path,
) -> None:
    base = write(
        tmp_path, "task: classify\nsamples: [{text: a, target: b}, {text: c, target: d}]\n", "base.yaml"
    )
    for named in (str(base), "./base.yaml", "base.yml"):
        outer = write(tmp_path, f"task: classify\nsamples: {{suite: {named}}}\n")
        with pytest.raises(AskError, match=r"line 2: '.*' is a file: `suite` takes the name"):
            load_suite(outer)


@pytest.mark.parametrize("name", ["mine.conf", "mine.YAML", "mine"])
def test_a_suites_file_ends_as_plans_know_it(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, TWO, name)
    with pytest.raises(AskError, match=r"its name must end with .yaml or .yml"):
        load_suite(path)
