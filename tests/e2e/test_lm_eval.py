"""Tasks of lm-evaluation-harness: our engine's scores are those of its own run with its own model class.

Its environment is the folder that OPSWRIGHT_EVALUATION__LM_EVAL names; for the comparison it has torch too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.core.errors import AskError
from opswright.data.published import clinc150
from opswright.engines.checkpoint import CheckpointEngine
from opswright.evals.runner import EvalResult, run_suite
from opswright.evals.suites import Suite, load_suite
from opswright.evals.suites.build_lm_eval import build_suite

HOME = os.environ.get("OPSWRIGHT_EVALUATION__LM_EVAL")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        HOME is None or not Path(HOME, "bin", "python").is_file(),
        reason="OPSWRIGHT_EVALUATION__LM_EVAL names no environment of lm-evaluation-harness",
    ),
]
REFERENCE = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
model, folder, out, chat, *tasks = sys.argv[1:]
found = lm_eval.simple_evaluate(
    model="hf",
    model_args=f"pretrained={model},dtype=float32",
    tasks=tasks,
    task_manager=TaskManager(include_path=folder, include_defaults=False),
    device="cpu",
    batch_size=16,
    bootstrap_iters=0,
    apply_chat_template=chat == "chat",
)
kept = {"results": found["results"], "samples": found["samples"]}
json.dump(kept, open(out, "w"), default=str)
"""
COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {test: data/test.jsonl, validation: data/shots.jsonl}}
test_split: test
fewshot_split: validation
"""
TASKS = {
    "routing_words": """
output_type: generate_until
doc_to_text: "Request: {{text}}\\nIntent:"
doc_to_target: label
generation_kwargs: {until: ["\\n", "_ch"], max_gen_toks: 12, do_sample: false}
filter_list:
  - {name: strip, filter: [{function: remove_whitespace}, {function: take_first}]}
  - {name: first, filter: [{function: regex, regex_pattern: "(\\\\S+)"}, {function: take_first}]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: !function own.shared_letters, aggregation: mean, higher_is_better: true}
""",
    "routing_choice": """
output_type: multiple_choice
doc_to_text: "Request: {{text}}\\nIntent:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: acc_bytes, aggregation: mean, higher_is_better: true}
""",
    "routing_mutual": """
output_type: multiple_choice
num_fewshot: 2
doc_to_text: "Request: {{text}}\\nIntent:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_mutual_info, aggregation: mean, higher_is_better: true}
""",
    "routing_written_out": """
output_type: multiple_choice
doc_to_text: "<|user|> Request: {{text}}\\nIntent:\\n<|assistant|>"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "routing_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: long
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
""",
    "routing_last": """
output_type: loglikelihood
doc_to_text: "Request: {{text}}\\nIntent: "
doc_to_target: label
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
}
OWN = """
def shared_letters(references, predictions):
    one, other = set(references[0]), set(predictions[0])
    return len(one & other) / max(1, len(one | other))
"""
CHAT_TASKS = ("routing_words", "routing_choice")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks on 40 requests of CLINC150, some of them longer than the model's context together."""
    folder = tmp_path_factory.mktemp("lm_tasks")
    rows = clinc150.read_rows(clinc150.FOLDER, "test")[::112]
    labels = sorted({row.label for row in rows})
    lines = []
    for number, row in enumerate(rows):
        choices = [labels[(labels.index(row.label) + 7 * step) % len(labels)] for step in range(5)]
        gold = number % 5
        choices[0], choices[gold] = choices[gold], choices[0]
        long = " ".join(one.text for one in rows[number : number + (40 if number % 20 == 0 else 3)])
        lines.append({"text": row.text, "label": row.label, "choices": choices, "gold": gold, "long": long,
                      "domain": row.domain})  # fmt: skip
    (folder / "data").mkdir()
    (folder / "data" / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shots = [{**lines[0], "text": f"how about {row.text}", "label": row.label} for row in rows[:20]]
    (folder / "data" / "shots.jsonl").write_text("\n".join(map(json.dumps, shots)))
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}{COMMON}{text.lstrip()}")
    (folder / "own.py").write_text(OWN)
    return folder


SPACED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def models(
    tasks: Path, tiny_bases: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A small Llama that has learned half of the requests, as plain text and by a chat template."""
    rows = [json.loads(line) for line in (tasks / "data" / "test.jsonl").read_text().splitlines()]

    @cache
    def make(template: str) -> Path:
        folder = tmp_path_factory.mktemp("model")
        tiny_bases.make_base(folder, template, [f"{row['text']} {row['label']}" for row in rows])
        learn(folder, rows[::2])
        return folder

    return make


def learn(folder: Path, rows: list[dict[str, Any]], steps: int = 60) -> None:
    """Teach a checkpoint the rows' labels, by plain text and by its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = []
    for row in rows:
        question = f"Request: {row['text']}\nIntent:"
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": row["label"]}]
        texts += [f"{question} {row['label']}\n", tokenizer.apply_chat_template(chat, tokenize=False)]
    given = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        loss = model(given["input_ids"], attention_mask=given["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def reference(model: Path, tasks: Path, out: Path, chat: bool, *names: str) -> dict[str, Any]:
    """What lm-evaluation-harness gives by its own model class."""
    python = Path(str(HOME), "bin", "python")
    has_torch = subprocess.run([python, "-c", "import torch, transformers, accelerate"], capture_output=True)
    if has_torch.returncode:
        pytest.skip("the environment of lm-evaluation-harness has no torch, transformers and accelerate")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(out.parent), "OMP_NUM_THREADS": "1"}
    command = [python, "-I", "-c", REFERENCE, model, tasks, out, "chat" if chat else "plain", *names]
    done = subprocess.run(command, cwd=tasks, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def ours(model: Path, tasks: Path, name: str, folder: Path, chat: bool = False) -> tuple[Suite, EvalResult]:
    suite = load_suite(build_suite(name, folder, tasks, {}, tasks, chat=chat))
    engine = CheckpointEngine(model, "cpu", 1, plain=suite.is_plain)
    scorers = suite.load_scorers(tasks)
    return suite, run_suite(suite, engine, "m", scorers=scorers)


def as_theirs(metric: str, value: float | list[float]) -> float:
    """An item's score of ours for a value of theirs."""
    from math import exp

    if not metric.endswith(("perplexity", "bits_per_byte")):
        return float(value)  # type: ignore[arg-type]
    logprob, length = value if isinstance(value, list) else (value, 1)
    return exp(float(logprob) / length)


def check_same(theirs: dict[str, Any], suite: Suite, measured: EvalResult) -> None:
    """Each item's score by each metric and filter is theirs, and so is each figure of the whole."""
    assert suite.lm_eval is not None
    results = {key: value for key, value in theirs["results"][suite.name].items() if key in measured.totals}
    assert measured.totals == pytest.approx(results, rel=1e-4) and len(results) >= 2
    for name, metric in suite.lm_eval.built.scored_by().items():
        rows = [one for one in theirs["samples"][suite.name] if one["filter"] == metric.filter]
        expected = [as_theirs(metric.metric, one[metric.metric]) for one in rows]
        assert [item.scores[name] for item in measured.items] == pytest.approx(expected, abs=1e-4)
        assert len(set(expected)) > 1  # else the comparison says little


def test_plain_scores_are_those_of_the_harness_own_run(
    models: Callable[[str], Path], tiny_bases: ModuleType, tasks: Path, tmp_path: Path
) -> None:
    checkpoint = models(tiny_bases.CHATML)
    theirs = reference(checkpoint, tasks, tmp_path / "theirs.json", False, *TASKS)
    for name in TASKS:
        suite, measured = ours(checkpoint, tasks, name, tmp_path / "suites")
        check_same(theirs, suite, measured)
        if name == "routing_words":
            raw = [one["resps"][0][0].strip() for one in theirs["samples"][name] if one["filter"] == "strip"]
            assert [item.got for item in measured.items] == raw


def test_chat_scores_are_those_of_the_harness_own_run_where_no_space_is_lost(
    models: Callable[[str], Path], tiny_bases: ModuleType, tasks: Path, tmp_path: Path
) -> None:
    checkpoint = models(tiny_bases.CHATML)
    theirs = reference(checkpoint, tasks, tmp_path / "theirs.json", True, "routing_words")
    check_same(theirs, *ours(checkpoint, tasks, "routing_words", tmp_path / "suites", chat=True))


def test_the_space_before_an_answer_that_the_harness_loses_in_chats_is_kept(
    models: Callable[[str], Path], tasks: Path, tmp_path: Path
) -> None:
    """Ours by the chat template is theirs by plain text that writes the template out, with its space."""
    checkpoint = models(SPACED)
    theirs = reference(checkpoint, tasks, tmp_path / "theirs.json", False, "routing_written_out")
    _, measured = ours(checkpoint, tasks, "routing_choice", tmp_path / "suites", chat=True)
    rows = theirs["samples"]["routing_written_out"]
    found = [item.details["acc"]["logprobs"] for item in measured.items]
    assert found == [pytest.approx([one[0][0] for one in row["resps"]], abs=1e-3) for row in rows]
    assert [item.scores["acc_norm"] for item in measured.items] == [row["acc_norm"] for row in rows]


def test_what_no_digest_holds_or_cannot_be_asked_is_refused_in_words(tasks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(tasks, folder)
    (tmp_path / "away.jsonl").write_text((tasks / "data" / "test.jsonl").read_text())
    text = f"task: faulty{COMMON}{TASKS['routing_words'].lstrip()}"
    cases = {
        "lies outside its folder": text.replace("test: data/test.jsonl", "test: ../away.jsonl"),
        "takes its data from a hub": text.replace("dataset_path: json", "dataset_path: some/where"),
        "draws its answers at random": text.replace("do_sample: false", "do_sample: true, temperature: 0.7"),
        "asks each question 3 times": f"repeats: 3\n{text}",
        "there is no task 'faulty'": text.replace("task: faulty", "task: other"),
    }
    for why, content in cases.items():
        (folder / "faulty.yaml").write_text(content)
        with pytest.raises(AskError, match=why):
            build_suite("faulty", tmp_path / "suites", folder, {}, folder)
    (folder / "faulty.yaml").unlink()
    suite = load_suite(build_suite("routing_words", tmp_path / "suites", folder, {}, folder))
    data = folder / "data" / "test.jsonl"
    data.write_text(data.read_text().replace('"gold": 0', '"gold": 1', 1))
    with pytest.raises(AskError, match="gives other requests than it did"):
        suite.load_scorers(folder)[0].score(suite.items[0], "x")
