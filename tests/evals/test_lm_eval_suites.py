"""Suites of lm-evaluation-harness without it: what is built, trusted, asked and scored."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from opswright.core.errors import AskError, BackendError, HeldError, NeedsError
from opswright.core.input_digest import sha256_input
from opswright.engines import Chat, Continuation, GenerationOptions, GenerationResult, Progress
from opswright.evals.lm_eval.environment import run_worker
from opswright.evals.lm_eval.scoring import lm_eval_scorers
from opswright.evals.runner import EvalResult, run_suite
from opswright.evals.suites import Suite, load_suite
from opswright.evals.suites.build_lm_eval import build_suite

MEAN = {"mean": True, "higher_is_better": True, "own": False}
WHOLE = {"mean": False, "higher_is_better": False, "own": False}
METRICS = {
    "generate_until": [{"metric": "exact_match", "filter": "none", **MEAN}],
    "multiple_choice": [
        {"metric": "acc", "filter": "none", **MEAN},
        {"metric": "acc_norm", "filter": "none", **MEAN},
    ],
    "loglikelihood_rolling": [{"metric": "word_perplexity", "filter": "none", **WHOLE}],
}


class Worker:
    """Builds three items, and gives every answer the value it was told; keeps what it was asked."""

    def __init__(self, kind: str = "multiple_choice", value: Any = 1.0, **built: Any) -> None:
        self.kind, self.value, self.built, self.asked = kind, value, built, list[Mapping[str, Any]]()

    def __call__(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(asked)
        if asked["action"] == "build":
            return self._build(asked["chat"])
        names = [f"{one['metric']},{one['filter']}" for one in METRICS[self.kind]]
        values = {item: dict.fromkeys(names, self.value) for item in asked["answers"]}
        return {"values": values, "totals": dict.fromkeys(names, 12.5)}

    def _build(self, chat: bool) -> Mapping[str, Any]:
        items = []
        for number in range(3):
            text = f"Q: what \u2028 is {number}\nA: "
            context: Any = [{"role": "user", "content": text}] if chat else text
            asked = [[context, " one"], [context, " three"]]
            if self.kind == "generate_until":
                asked = [[context, ""]]
            if self.kind == "loglikelihood_rolling":
                asked = [["", text]]
            items.append({"id": f"t-{number:05d}", "question": text, "targets": ["one"], "document": "0",
                          "choices": ["one", "three"] if self.kind == "multiple_choice" else [],
                          "asked": asked, "fields": {"side": ("even", "odd")[number % 2]}})  # fmt: skip
        return {"version": "0.4.13", "kind": self.kind, "metrics": METRICS[self.kind], "items": items,
                "generation": {"until": ["\n"], "max_tokens": 8}, **self.built}  # fmt: skip


class Model:
    """Answers `one`, and finds a text the likelier the shorter it is."""

    version = "model 1"

    def __init__(self, error: str | None = None) -> None:
        self.error, self.asked, self.prefixes = error, list[tuple[Chat, Sequence[str]]](), list[str | None]()
        self.options = GenerationOptions()

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        self.options = options
        return [
            GenerationResult(
                None if n == 0 and self.error else " one\t", error=self.error if n == 0 else None
            )
            for n in range(len(chats))
        ]

    def loglikelihood(
        self,
        chats: Sequence[Chat],
        continuations: Sequence[Sequence[str]],
        prefix: str | None = None,
        progress: Progress | None = None,
    ) -> list[list[Continuation]]:
        self.asked += zip(chats, continuations, strict=True)
        self.prefixes.append(prefix)
        return [[Continuation(-float(len(text)), 1) for text in some] for some in continuations]

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "lm_tasks"
    (folder / "data").mkdir(parents=True)
    (folder / "t.yaml").write_text("task: t\n")
    (folder / "data" / "test.jsonl").write_text("{}\n")
    return folder


def built(tasks: Path, worker: Worker, **asked: Any) -> Path:
    return build_suite("t", tasks.parent / "suites", tasks, {}, tasks, run=worker, **asked)


def measured(suite: Suite, model: Model, worker: Worker, tasks: Path) -> EvalResult:
    assert suite.lm_eval is not None
    scorers = lm_eval_scorers(suite.lm_eval, [spec.metric for spec in suite.specs], tasks, worker)
    return run_suite(suite, model, "m", slices=suite.slices(), scorers=scorers)


def test_a_task_of_a_folder_runs_only_where_the_folder_is_trusted(tasks: Path, tmp_path: Path) -> None:
    worker = Worker()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to(tasks)
    for trust in (None, tmp_path / "other", tasks / "data"):
        with pytest.raises(HeldError, match="runs only when its folder is trusted"):
            build_suite("t", tmp_path / "suites", tmp_path / "other" / "link", {}, trust, run=worker)
    assert worker.asked == [] and not (tmp_path / "suites").exists()
    suite = load_suite(built(tasks, worker))
    for check in (suite.check_scorers, suite.load_scorers):
        with pytest.raises(HeldError, match="Read it, then name the folder: `trust=lm_tasks`"):
            check(None)
    assert len(worker.asked) == 1


def test_a_plan_notices_a_change_of_the_task_its_data_or_its_requests(tasks: Path) -> None:
    path = built(tasks, Worker())
    for changed in (tasks / "t.yaml", tasks / "data" / "test.jsonl", path.with_name("t.requests.jsonl")):
        before, digest = sha256_input(path), load_suite(path).digest
        changed.write_text(changed.read_text().replace("is 1", "is 7") + "\n")
        assert sha256_input(path) != before, changed
        if changed.suffix != ".jsonl" or "requests" not in changed.name:
            assert load_suite(path).digest != digest


def test_choices_are_asked_as_the_harness_asks_them_and_scored_by_it(tasks: Path) -> None:
    worker, model = Worker(), Model()
    path = built(tasks, worker)
    path.write_text(path.read_text() + "slices: {by: [side]}\n")
    found = measured(load_suite(path), model, worker, tasks)
    chat, texts = model.asked[0]
    assert chat == ({"role": "user", "content": "Q: what \u2028 is 0\nA:"},)  # the space is the answer's
    assert texts == ["  one", "  three"] and model.prefixes == [""]
    assert [item.got for item in found.items] == ["one"] * 3
    assert found.items[0].scores == {"acc": 1.0, "acc_norm": 1.0}
    assert found.items[0].details["acc"] == {"logprobs": [-5.0, -7.0]}
    assert found.totals == {"acc,none": 12.5, "acc_norm,none": 12.5}
    assert [item.slices for item in found.items] == [("even",), ("odd",), ("even",)]
    scored = worker.asked[1:]
    assert len(scored) == 1, "all metrics are computed at once"
    assert scored[0]["answers"]["t-00000"] == [[-5.0, False], [-7.0, False]]


def test_in_a_chat_an_answer_stands_where_the_models_own_template_puts_it(tasks: Path) -> None:
    worker, model = Worker(), Model()
    suite = load_suite(built(tasks, worker, chat=True))
    measured(suite, model, worker, tasks)
    assert not suite.is_plain and model.prefixes == [None]
    assert model.asked[0][1] == ["one", "three"]


def test_a_generated_answer_reaches_the_harness_with_its_white_space_and_a_failed_one_is_wrong(
    tasks: Path,
) -> None:
    worker, model = Worker("generate_until"), Model("down")
    found = measured(load_suite(built(tasks, worker)), model, worker, tasks)
    assert worker.asked[1]["answers"] == {"t-00001": [" one\t"], "t-00002": [" one\t"]}
    assert [item.scores["exact_match"] for item in found.items] == [0.0, 1.0, 1.0] and found.errors == 1
    assert model.options.stop == ("\n",) and model.options.max_tokens == 8


def test_the_score_of_a_text_is_its_inverse_perplexity(tasks: Path) -> None:
    worker, model = Worker("loglikelihood_rolling", value=[-10.0, 5]), Model()
    found = measured(load_suite(built(tasks, worker)), model, worker, tasks)
    assert found.items[0].scores == {"inverse_word_perplexity": pytest.approx(0.1353, abs=1e-4)}
    assert model.asked[0][0] == ({"role": "user", "content": ""},)


@pytest.mark.parametrize("value", [None, "x", 1.5, float("nan"), [1, 2]])
def test_what_is_no_score_is_a_fault_and_counted(tasks: Path, value: Any) -> None:
    worker = Worker("generate_until", value=value)
    with pytest.raises(BackendError, match=r"scored none of 3 answers; the first fault: .+"):
        measured(load_suite(built(tasks, worker)), Model(), worker, tasks)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("task: choose\n", "line 12: a task of lm-evaluation-harness decides `task` itself"),
        ("prompt: {system: Be brief.}\n", "decides `prompt` itself"),
        ("slices: {by: [colour]}\n", "no item of suite t has the tag 'colour'"),
        ("lm_eval: {}\n", "lm_eval"),
    ],
)
def test_what_a_task_decides_cannot_be_said_again(tasks: Path, more: str, why: str) -> None:
    path = built(tasks, Worker())
    path.write_text(path.read_text() + more)
    with pytest.raises(AskError, match=why):
        load_suite(path)


def test_the_first_metric_can_be_chosen_and_must_be_one_of_the_task(tasks: Path) -> None:
    path = built(tasks, Worker())
    text = path.read_text()
    path.write_text(text.replace("- acc\n- acc_norm", "- acc_norm"))
    assert [spec.metric for spec in load_suite(path).specs] == ["acc_norm"]
    path.write_text(text.replace("- acc\n- acc_norm", "- acc_nrm"))
    with pytest.raises(AskError, match=r"scores no item by 'acc_nrm'.*Did you mean 'acc_norm'"):
        load_suite(path)


@pytest.mark.parametrize("text", ["", "x", "{}\n", '{"task": "t"}\n[]\n', "\u00e9\n"])
def test_a_damaged_file_of_requests_is_named(tasks: Path, text: str) -> None:
    path = built(tasks, Worker())
    path.with_name("t.requests.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(AskError, match="holds no requests of lm-evaluation-harness"):
        load_suite(path)


def test_a_task_that_no_item_is_scored_by_or_no_chat_can_ask_is_refused_and_leaves_nothing(
    tasks: Path, tmp_path: Path
) -> None:
    whole = Worker("generate_until", metrics=[{"metric": "bleu", "filter": "none", **WHOLE}])
    with pytest.raises(AskError, match="scored only as a whole"):
        built(tasks, whole)
    with pytest.raises(AskError, match="leave out --chat"):
        built(tasks, Worker("loglikelihood_rolling"), chat=True)
    for name in ("../t", "a/t", ""):
        with pytest.raises(AskError, match="is no task's name"):
            build_suite(name, tmp_path / "suites", tasks, {}, tasks, run=Worker())
    assert not (tmp_path / "suites").exists()
    built(tasks, Worker())
    with pytest.raises(AskError, match="is there already"):
        built(tasks, Worker())


def test_without_its_environment_the_command_that_makes_one_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPSWRIGHT_EVALUATION__LM_EVAL", str(tmp_path / "none"))
    with pytest.raises(
        NeedsError, match=r"-m venv .*none && .*pip install -c .*-r .*requirements-lm-eval\.txt"
    ):
        run_worker({"task": "t", "action": "build"})


def interpreter(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the Python that has lm-evaluation-harness; its last two arguments are the files."""
    python = folder / "home" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("OPSWRIGHT_EVALUATION__LM_EVAL", str(folder / "home"))


def test_code_of_a_task_sees_no_secret_and_no_network_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    interpreter(tmp_path, 'printf "{\\"seen\\": \\"%s\\"}" "$(env | tr "\\n" ";")" > "${@: -1}"', monkeypatch)
    seen = run_worker({"task": "t", "action": "build"})["seen"]
    assert "s3cret" not in seen and "PYTHONPATH" not in seen and "HF_HUB_OFFLINE=1" in seen
    assert f"HF_HOME={os.environ.get('HOME')}" not in seen


@pytest.mark.parametrize(
    ("script", "error", "why"),
    [
        ("echo boom >&2; exit 3", BackendError, r"task 't' \(exit 3\):\nboom"),
        ("exit 0", BackendError, r"exit 0"),
        ("printf '{' > ${@: -1}", BackendError, "is no JSON"),
        ("""printf '{"refused": "no such task"}' > ${@: -1}""", AskError, "no such task"),
    ],
)
def test_a_worker_that_fails_is_said_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, error: type[Exception], why: str
) -> None:
    interpreter(tmp_path, script, monkeypatch)
    with pytest.raises(error, match=why):
        run_worker({"task": "t", "action": "build"})


def test_requests_are_kept_as_one_line_each_whatever_they_hold(tasks: Path) -> None:
    path = built(tasks, Worker())
    lines = path.with_name("t.requests.jsonl").read_text().split("\n")
    assert len(lines) == 5 and json.loads(lines[1])["question"] == "Q: what \u2028 is 0\nA: "
