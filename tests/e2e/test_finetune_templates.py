"""Any chat template: what would be taught is the assistant's part alone, or the training is refused at once.

Tokenizers in the formats of ChatML, Qwen, Llama 3 and Zephyr are trained here; no hub is asked. All cases run
in one process, since the libraries take longer to import than the rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opswright.core.artifact_refs import DatasetRef
from opswright.core.errors import AskError
from opswright.skills.finetune import FinetuneRequest
from opswright.skills.finetune.base import BaseFacts
from opswright.skills.finetune.precheck import PreCheck, run_check
from opswright.skills.finetune.recipe import DataFacts, compile_recipe

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
Rows = list[dict[str, Any]]


def said(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "id": "call00001",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    }


CHATS = [
    said(("user", "what is 2 + 2?"), ("assistant", "four")),
    said(("system", "Answer in French."), ("user", "good day"), ("assistant", "bonjour")),
    said(
        ("user", "hi"),
        ("assistant", "Hello!\nHow are you?"),
        ("user", "fine"),
        ("assistant", "Good to hear."),
    ),
]
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
ASKED_THE_WEATHER = [
    {"role": "user", "content": "weather in Paris?"},
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", city="Paris", days=[1, 2])]},
    {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]
CALLS: Rows = [{"messages": ASKED_THE_WEATHER}]
CALLS_OF_TOOLS: Rows = [{"messages": ASKED_THE_WEATHER, "tools": [WEATHER]}]
SHORT, LONG = said(("user", "hi"), ("assistant", "ho")), said(("user", "far " * 300), ("assistant", "ho"))
LOOPS = (
    "{% for m in messages %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
    "{% endfor %}{{ m['content'] }}{% endfor %}"
)
# Name of the case: the template (or the name of one), the rows, how it is checked, what it says.
REFUSED: dict[str, tuple[str, Rows, dict[str, Any], str]] = {
    "loops": (LOOPS, CHATS, {}, "row 1 cannot be rendered by the base's chat template: TimeoutError"),
    "raises": ("{{ raise_exception('roles must alternate') }}", CHATS, {}, "roles must alternate"),
    "missing field": (
        "{% for m in messages %}{{ m['no'] + 'x' }}{% endfor %}",
        CHATS,
        {},
        "cannot be rendered",
    ),
    "syntax": ("{% for m in messages %}", CHATS, {}, "row 1 cannot be rendered"),
    "constant": ("{{ 1 }}", CHATS, {}, "row 1 has wrong labels: it has 1 assistant messages, 0"),
    "calls left out": ("chatml", CALLS, {}, "leaves out or puts elsewhere"),
    "tools left out": ("as-text", CALLS_OF_TOOLS, {}, "leaves out the tool 'get_weather'"),
    "json in json": ("qwen-twice", CALLS, {}, "arguments as JSON within a JSON text"),
    "no end": ("no-end", CHATS, {}, "has no end token"),
    "many long": ("chatml", [SHORT] * 40 + [LONG] * 3, {"max_tokens": 64}, "3 of 43 rows have more than"),
    "strict": (
        "chatml",
        [SHORT] * 39 + [LONG],
        {"max_tokens": 64, "too_long": "refuse"},
        "too_long is 'refuse'",
    ),
    "role": ("chatml", [{"messages": [{"role": "wizard", "content": "x"}]}], {}, "Unsupported role"),
    "no answer": ("chatml", [said(("user", "x"))], {}, "At least one assistant message"),
    "no messages": ("chatml", [{"messages": "no"}], {}, "row 1 cannot be rendered"),
    "no chat": ("chatml", [{"text": "no"}], {}, "row 1 cannot be rendered"),
}
WRONG = {
    "optimizer.epsilonn": 1e-7,
    "optimizer.eps": "tiny",
    "step_scheduler.val_every_steps": "many",
    "lr_scheduler.lr_decay_style": "zigzag",
}
IN_ONE_PROCESS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import make_base
from opswright.skills.finetune.chat_rows import chat_rows, has_marks
from opswright.skills.finetune.labels import _runs
from opswright.skills.finetune.precheck import PreCheck, open_tokenizer, outcome
asked, told = json.load(sys.stdin), {}
for base, template, texts in asked["bases"]:
    make_base(Path(base), template, texts)
for name, check in asked["checks"].items():
    told[name] = outcome(PreCheck(**check))
for name, (base, data, last) in asked["taught"].items():
    tokenizer = open_tokenizer(Path(base))
    rows = chat_rows(data, tokenizer, mask_generation_prompt=not has_marks(tokenizer.chat_template),
                     last_turn_only=last)
    told[name] = [[tokenizer.decode(run) for run in _runs(rows[n]["labels"])] for n in range(len(rows))]
print(json.dumps(told))
"""


def recipe(**overrides: Any) -> str:
    request = FinetuneRequest(data=DatasetRef.of("d" * 64), overrides=overrides)
    return compile_recipe(request, DataFacts(100, 10), BaseFacts()).yaml()


def of_adapters(base: str, *targets: str) -> PreCheck:
    request = FinetuneRequest(
        data=DatasetRef.of("d" * 64), base=Path(base), method="lora", lora_targets=targets
    )
    return PreCheck(
        compile_recipe(request, DataFacts(100, 10), BaseFacts(has_weights=True)).yaml(), base=base
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="module")
def told(folder: Path, tiny_bases: ModuleType) -> dict[str, Any]:
    """What the check says of every case, and what the four formats would teach."""
    templates = {
        **tiny_bases.TEMPLATES,
        "qwen-twice": tiny_bases.QWEN.replace("arguments | tojson", "arguments | tojson | tojson"),
        "no-end": tiny_bases.AS_TEXT.replace("'<|im_end|>' + ", ""),
    }
    texts = [json.dumps(row) for row in (*CHATS, *CALLS_OF_TOOLS)]

    def rows(name: str, rows: Rows) -> str:
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder / "data" / name)

    checks, extra = {}, []
    for name, (template, data, how, _) in REFUSED.items():
        if template not in templates:
            extra.append((name, template))
        base = str(folder / (template if template in templates else name))
        checks[name] = asdict(PreCheck("", rows(name, data), base, **{"max_tokens": 512, **how}))
    few = rows("few", [SHORT] * 39 + [LONG])
    checks["few long"] = asdict(PreCheck("", few, str(folder / "chatml"), max_tokens=64))
    checks["a field"] = asdict(
        PreCheck(recipe(**{"optimizer.eps": 1e-7, "step_scheduler.gc_every_steps": 50}))
    )
    checks["no field"] = asdict(PreCheck(recipe(**{"step_scheduler.no_such": 1})))
    for key, value in WRONG.items():
        checks[key] = asdict(PreCheck(recipe(**{key: value})))
    checks["targets"] = asdict(of_adapters(str(folder / "chatml"), "*_proj", "*.q_proj"))
    checks["no target"] = asdict(of_adapters(str(folder / "chatml"), "*_proj", "q_proj"))
    checks["no strategy"] = asdict(PreCheck(recipe(**{"distributed.strategy": "magic"})))
    chats, calls, tools = rows("chats", CHATS), rows("calls", CALLS), rows("tools", CALLS_OF_TOOLS)
    taught = {
        f"{name} {last}": (str(folder / name), f"{chats}/train.jsonl", last)
        for name in ("chatml", "qwen", "llama3", "zephyr")
        for last in (False, True)
    }
    taught["qwen calls"] = (str(folder / "qwen"), f"{tools}/train.jsonl", False)
    taught["as-text calls"] = (str(folder / "as-text"), f"{calls}/train.jsonl", False)
    for name in ("chatml", "qwen", "llama3", "zephyr"):
        checks[f"{name} is right"] = asdict(PreCheck("", chats, str(folder / name), max_tokens=512))
    bases = [(str(folder / name), template, texts) for name, template in (*templates.items(), *extra)]
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, str(Path(__file__).parent)],
        input=json.dumps({"bases": bases, "checks": checks, "taught": taught}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize(
    ("name", "end"),
    [("chatml", "<|im_end|>\n"), ("qwen", "<|im_end|>\n"), ("llama3", "<|eot_id|>"), ("zephyr", "</s>\n")],
)
def test_only_the_assistant_is_taught_in_every_turn_whatever_the_template(
    told: dict[str, Any], name: str, end: str
) -> None:
    wanted = [["four"], ["bonjour"], ["Hello!\nHow are you?", "Good to hear."]]
    assert told[f"{name} False"] == [[f"{text}{end}" for text in turns] for turns in wanted]
    assert told[f"{name} True"] == [[f"{turns[-1]}{end}"] for turns in wanted]
    found = "labels of 3 rows of train.jsonl checked: only what the assistant says and its end are learnt"
    assert told[f"{name} is right"] == {"found": [found]}


def test_a_tool_call_is_taught_as_json_by_templates_of_either_kind(told: dict[str, Any]) -> None:
    [[first, last]] = told["qwen calls"]
    body = first.partition("<tool_call>\n")[2].partition("\n</tool_call>")[0]
    assert json.loads(body) == {"name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2]}}
    assert last == "It is sunny.<|im_end|>\n"
    [[first, _]] = told["as-text calls"]
    arguments = first.removeprefix("get_weather ").removesuffix("<|im_end|>\n")
    assert json.loads(arguments) == {"city": "Paris", "days": [1, 2]}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_taught_wrongly_or_not_rendered_is_refused_with_the_row(
    told: dict[str, Any], name: str
) -> None:
    assert told[name].get("family") == "AskError", told[name]
    assert REFUSED[name][3] in told[name]["message"]


def test_a_few_long_rows_are_counted_and_left_out(told: dict[str, Any]) -> None:
    assert "1 of 40 rows have more than max_tokens 64 tokens (row 40 has" in told["few long"]["found"][-1]


def test_a_recipe_that_automodel_does_not_take_is_refused_in_its_own_words(told: dict[str, Any]) -> None:
    assert told["a field"] == {"found": []}
    assert "does not take the recipe's step_scheduler" in told["no field"]["message"]
    assert "no_such" in told["no field"]["message"]
    assert "does not take the recipe's distributed" in told["no strategy"]["message"]


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_automodel_s_own_parts_cannot_be_built_with_is_refused(
    told: dict[str, Any], key: str
) -> None:
    assert f"does not take the recipe's {key.partition('.')[0]}" in told[key]["message"]


def test_names_that_reach_no_layer_of_the_base_are_refused(told: dict[str, Any]) -> None:
    assert told["targets"] == {"found": []}
    message = told["no target"]["message"]
    assert message.startswith("lora_targets 'q_proj' is no linear layer of the base") and "up_proj" in message


def test_the_check_runs_in_a_process_of_its_own_and_raises_here(told: dict[str, Any], folder: Path) -> None:
    check = PreCheck("", str(folder / "data" / "tools"), str(folder / "chatml"), max_tokens=512)
    with pytest.raises(AskError, match="leaves out"):
        run_check(check)


def test_a_check_that_takes_too_much_cpu_time_is_ended_and_waiting_is_not_counted(folder: Path) -> None:
    check = PreCheck("", str(folder / "data" / "tools"), str(folder / "chatml"), max_tokens=512, cpu_s=1)
    with pytest.raises(AskError, match="not checked within 1 s of CPU time"):
        run_check(check)
