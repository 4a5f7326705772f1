"""Fine-tuning for real: NeMo AutoModel trains the tiny model, survives kill -9, and refuses wrong labels."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import opswright
from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import NullEvents, StepContext
from opswright.core.errors import AskError, HeldError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.curate import CurateRequest, curate
from opswright.skills.finetune import FinetuneRequest, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
RAW = Path(opswright.__file__).parent / "examples" / "support_router" / "raw" / "clinc150"
SHORT = {"batch_size": 32, "epochs": 20, "checkpoint_every_steps": 10}
IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from opswright.core.contract import StepContext
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
home, ask = sys.argv[1:]
workspace = Workspace(load_settings(home=Path(home)))
workdir = workspace.run_folder("run-1") / "step"
workdir.mkdir(parents=True, exist_ok=True)
ctx = StepContext(workspace, "run-1", "step", "key", workdir)
print(finetune(FinetuneRequest.model_validate(json.loads(ask)), ctx).model_dump_json())
"""


def chat(text: str, label: str) -> str:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
    return json.dumps({"messages": messages}) + "\n"


def banking_rows() -> list[tuple[str, str]]:
    intents = set(json.loads((RAW / "domains.json").read_text())["banking"])
    rows = json.loads((RAW / "data_full.json").read_text())["train"]
    chosen = [(text, intent) for text, intent in rows if intent in intents]
    random.Random(1).shuffle(chosen)
    return chosen[:320]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training") / "workspace"


@pytest.fixture(scope="module")
def shared(home: Path) -> Workspace:
    return Workspace(load_settings(home=home, actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    rows = banking_rows()
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(chat(*row) for row in rows[:300]))
        (folder / "validation.jsonl").write_text("".join(chat(*row) for row in rows[300:]))
        return shared.artifacts.save(DatasetRef, folder, {"train_rows": 300, "validation_rows": 20})


@pytest.fixture(scope="module")
def trained(shared: Workspace, data: DatasetRef) -> CheckpointRef:
    """The uninterrupted training of 60 steps."""
    made = finetune(FinetuneRequest(data=data, max_steps=60, **SHORT), step(shared, "whole")).checkpoint
    assert made is not None
    return made


def step(workspace: Workspace, name: str, run: str = "run-0") -> StepContext:
    workdir = workspace.run_folder(run) / name
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(workspace, run, name, f"{run}-{name}", workdir)


def wait_for_steps(folder: Path, count: int, alive: Callable[[], bool]) -> None:
    path = folder / "checkpoints" / "training.jsonl"
    until = time.monotonic() + 120
    while not path.is_file() or len(path.read_bytes().splitlines()) < count:
        assert alive() and time.monotonic() < until, "the training ended before it could be killed"
        time.sleep(0.05)


def workers(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        mine = process.info["cwd"] == str(folder) and process.info["status"] != psutil.STATUS_ZOMBIE
        if mine and "opswright.skills.finetune.worker" in (process.info["cmdline"] or []):
            yield process


def test_the_tiny_model_learns_and_is_a_whole_hugging_face_folder(
    shared: Workspace, trained: CheckpointRef
) -> None:
    checkpoint = shared.artifacts.open(trained)
    assert checkpoint.facts["steps"] == 60 and checkpoint.facts["parameters"] > 900_000
    assert checkpoint.facts["validation_loss"] < 1.5
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "recipe.yaml"}
    assert wanted | {"generation_config.json", "training.jsonl", "training.json"} <= set(checkpoint.files)
    assert len((checkpoint.path / "training.jsonl").read_text().splitlines()) == 60


def test_killed_in_mid_training_the_step_attaches_and_ends_as_if_nothing_had_happened(
    home: Path, shared: Workspace, data: DatasetRef, trained: CheckpointRef
) -> None:
    ask = json.dumps({"data": data, "max_steps": 60, **SHORT})
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(home), ask]
    folder = shared.run_folder("run-1").resolve() / "step"
    parent = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for_steps(folder, 25, lambda: parent.poll() is None)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    at_work = [process.pid for process in workers(folder)]
    assert at_work, "the training ended with the process that asked for it"

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(again.stdout)
    assert result["resumed_from"] == 0 and result["steps"] == 60  # one worker
    assert result["checkpoint"] == trained  # the same bytes as without the kill
    assert not list(workers(folder))


def test_step_and_worker_killed_together_it_goes_on_from_its_last_checkpoint(
    home: Path, shared: Workspace, data: DatasetRef, trained: CheckpointRef
) -> None:
    ask = json.dumps({"data": data, "max_steps": 60, **SHORT})
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS.replace("run-1", "run-2"), str(home), ask]
    folder = shared.run_folder("run-2").resolve() / "step"
    parent = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for_steps(folder, 25, lambda: parent.poll() is None)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    for process in list(workers(folder)):
        process.kill()
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1 and "was killed by signal 9" in told.stderr  # what nobody saw is told once
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert result["resumed_from"] in range(10, 60, 10) and result["steps"] == 60
    assert result["checkpoint"] == trained


def test_a_worker_killed_alone_is_an_error_and_the_next_call_goes_on(
    shared: Workspace, data: DatasetRef
) -> None:
    ask = FinetuneRequest(data=data, max_steps=30, **SHORT)
    ctx = step(shared, "worker-killed")
    folder = ctx.workdir.resolve()

    class KillAtStep15(NullEvents):
        def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
            if done >= 15:
                for process in workers(folder):
                    process.kill()

    ctx.events = KillAtStep15()
    with pytest.raises(Exception, match="killed by signal 9"):
        finetune(ask, ctx)
    result = finetune(ask, step(shared, "worker-killed"))
    assert result.resumed_from >= 10 and result.steps == 30


def test_a_person_who_stops_it_loses_no_step(shared: Workspace, data: DatasetRef) -> None:
    ask = FinetuneRequest(data=data, max_steps=40, **{**SHORT, "checkpoint_every_steps": 1000})
    ctx = step(shared, "stopped")

    class StopAtStep8(NullEvents):
        def progress(self, step: str, done: float, total: float | None, unit: str) -> None:
            if done >= 8:
                ctx.cancelled.set()

    ctx.events = StopAtStep8()
    with pytest.raises(HeldError):
        finetune(ask, ctx)
    result = finetune(ask, step(shared, "stopped"))
    assert result.resumed_from >= 8 and result.steps == 40


def test_adapters_are_merged_into_the_checkpoint_and_kept_beside_it(
    shared: Workspace, data: DatasetRef, trained: CheckpointRef
) -> None:
    ask = FinetuneRequest(data=data, base=trained, method="lora", max_steps=4, batch_size=32)
    merged = finetune(ask, step(shared, "lora")).checkpoint
    assert merged is not None
    checkpoint = shared.artifacts.open(merged)
    base = shared.artifacts.open(trained)
    assert "adapter/adapter_model.safetensors" in checkpoint.files
    assert checkpoint.facts["parameters"] == base.facts["parameters"]
    assert checkpoint.files["model.safetensors"]["sha256"] != base.files["model.safetensors"]["sha256"]
    assert set(checkpoint.parents) == {data, trained}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + '</s>' }}{% endfor %}",
            r"supervised is '<\|assistant\|>",
        ),
        (
            "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% generation %}"
            "{{ ' ' + m['content'] }}{% endgeneration %}</s>{% else %}<|user|> {{ m['content'] }}{% endif %}"
            "{% endfor %}",
            "no end token",
        ),
        ("", "no chat template"),
    ],
    ids=["no-generation-marks", "end-token-outside-the-marks", "no-template"],
)
def test_a_template_that_would_teach_the_wrong_text_is_refused_before_training(
    shared: Workspace, data: DatasetRef, trained: CheckpointRef, tmp_path: Path, template: str, message: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((shared.artifacts.open(trained).path / name).read_bytes())
    if template:
        (base / "chat_template.jinja").write_text(template)
    ask = FinetuneRequest(data=data, base=base, max_steps=2, batch_size=32, learning_rate=1e-3)
    ctx = step(shared, f"template-{len(template)}")
    with pytest.raises(AskError, match=message):
        finetune(ask, ctx)
    assert not (ctx.workdir / "checkpoints").exists()


def test_the_tokenizer_is_given_every_answer_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in ODD_ROWS))
    workspace = Workspace(load_settings(home=tmp_path / "workspace", actor="tester"))
    ask = CurateRequest(source=source, validation_fraction=0, near_duplicate_jaccard=1)
    folder = workspace.artifacts.open(curate(ask, step(workspace, "data")).dataset).path
    checked = subprocess.run(
        [sys.executable, "-c", AS_TAUGHT, str(folder), str(tmp_path / "base")],
        capture_output=True,
        text=True,
        check=True,
    )
    taught, rows, altered = json.loads(checked.stdout.splitlines()[-1])
    assert (rows, altered) == (len(ODD_ROWS), 0)
    expected = [f"<|user|> {row['text']}<|assistant|>| {row['label']}</s>" for row in ODD_ROWS]
    assert sorted(taught) == sorted(expected)


# What a tokenizer or a reader of lines could lose, in text and in answer.
ODD_ROWS = [
    {
        "text": "look it up, 64 tokens",
        "label": '{"name": "search_docs", "arguments": {"max_new_tokens": 64}}',
    },
    {"text": "swap two variables", "label": "def swap_two(a_1, b_2):\n\treturn b_2, a_1\n"},
    {"text": "  spaces around \t", "label": "  snake_case  "},
    {"text": "line ends\r\nof another system", "label": "first_line\r\nsecond_line\r\n"},
    {"text": "Cafe\u0301 \uff1f", "label": "re\u0301sume\u0301_of_\ufb01le"},
    {"text": "a\u2028b\x85c", "label": "d\u2029e\x0bf"},
]
AS_TAUGHT = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from opswright.skills.finetune.labels import check_labels
from opswright.skills.finetune.tiny import make_tiny_base
from opswright.skills.finetune.tokenised_chat import TokenisedChat
data, base = Path(sys.argv[1]) / "train.jsonl", Path(sys.argv[2])
make_tiny_base(data, base)
tokenizer = AutoTokenizer.from_pretrained(base)
taught = []
for row in TokenisedChat(str(data)).build(tokenizer=tokenizer):
    answer = [label for label in row["labels"] if label != -100]  # labels[i] is the token after input_ids[i]
    prompt = row["input_ids"][: len(row["labels"]) - len(answer) + 1]
    taught.append(tokenizer.decode(prompt) + "|" + tokenizer.decode(answer))
checked = check_labels(data, tokenizer)
print(json.dumps([taught, checked.rows, checked.altered]))
"""


def test_the_tiny_base_has_the_layers_the_width_and_the_tokens_that_were_asked(
    data: DatasetRef, shared: Workspace, tmp_path: Path
) -> None:
    checked = subprocess.run(
        [sys.executable, "-c", SHAPED, str(shared.artifacts.open(data).path), str(tmp_path / "base")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(checked.stdout.splitlines()[-1]) == {
        "layers": 2, "width": 64, "heads": 2, "tokens": 300, "as_counted": True,
    }  # fmt: skip


SHAPED = """
import json, sys
from pathlib import Path
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from opswright.skills.finetune.tiny import make_tiny_base
from opswright.skills.finetune.tiny_shape import TinyShape
shape = TinyShape(layers=2, width=64, vocabulary=300)
make_tiny_base(Path(sys.argv[1]) / "train.jsonl", Path(sys.argv[2]), 128, shape)
config = AutoConfig.from_pretrained(sys.argv[2])
model = AutoModelForCausalLM.from_config(config)
print(json.dumps({
    "layers": config.num_hidden_layers, "width": config.hidden_size, "heads": config.num_attention_heads,
    "tokens": len(AutoTokenizer.from_pretrained(sys.argv[2])),
    "as_counted": sum(weight.numel() for weight in model.parameters()) == shape.parameters,
}))
"""


def test_a_row_longer_than_the_model_reads_is_refused_by_its_number(shared: Workspace) -> None:
    rows = [chat("hello there", "greeting")] * 3 + [chat("far too " * 40, "long")]
    with shared.artifacts.staging() as folder:
        (folder / "train.jsonl").write_text("".join(rows))
        ref = shared.artifacts.save(DatasetRef, folder, {"train_rows": 4, "validation_rows": 0})
    with pytest.raises(AskError, match=r"more than max_tokens 32 tokens \(row 4 has \d+"):
        finetune(FinetuneRequest(data=ref, max_tokens=32, batch_size=2), step(shared, "long"))


def test_the_cached_rows_are_those_of_automodel_itself(
    shared: Workspace, data: DatasetRef, trained: CheckpointRef
) -> None:
    checked = subprocess.run(
        [sys.executable, "-c", SAME_ROWS, str(shared.artifacts.open(trained).path)],
        cwd=shared.artifacts.open(data).path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(checked.stdout.splitlines()[-1]) == {"same": True, "rows": 320, "loss_gap": 0.0}


SAME_ROWS = """
import json, sys
import torch
from nemo_automodel.components.datasets.llm.chat_dataset import ChatDataset
from nemo_automodel.components.loss.masked_ce import MaskedCrossEntropy
from transformers import AutoTokenizer
from opswright.skills.finetune.label_loss import LabelOnlyCrossEntropy
from opswright.skills.finetune.tokenised_chat import TokenisedChat
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
plain = ChatDataset("train.jsonl", tokenizer)
rows = TokenisedChat("train.jsonl", fill_to_multiple_of=64).build(tokenizer=tokenizer)
same = [plain[i] for i in range(len(plain))] == rows[:len(plain)]
torch.manual_seed(0)
hidden, head = torch.randn(3, 7, 16), torch.randn(50, 16)
labels = torch.randint(0, 50, (3, 7)); labels[:, :4] = -100
full = MaskedCrossEntropy()(hidden @ head.T, labels, num_label_tokens=9)
short = LabelOnlyCrossEntropy()(hidden, labels, head, num_label_tokens=9)
print(json.dumps({"same": same, "rows": len(rows), "loss_gap": round(abs(float(full - short)), 5)}))
"""
