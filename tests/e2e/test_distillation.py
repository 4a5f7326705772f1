"""Distillation for real: a small student learns what its teacher says, and its rows count as seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.data.dataset import DatasetWriter
from opswright.data.sample import Sample
from opswright.engines.base import user_chat
from opswright.engines.checkpoint import CheckpointEngine
from opswright.evals.contamination import find_overlap, training_texts
from opswright.evals.lineage import training_datasets
from opswright.skills.finetune import FinetuneRequest, FinetuneResult, finetune

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
ROWS = [(f"{a} plus {b} please", str(n + m)) for n, a in enumerate(WORDS) for m, b in enumerate(WORDS)]
MAKE_BASES = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import CHATML, ZEPHYR, make_base
folder, texts = Path(sys.argv[2]), json.loads(sys.argv[3])
make_base(folder / "large", CHATML, texts, layers=3, hidden=96)
make_base(folder / "small", CHATML, texts, layers=1, hidden=48)
make_base(folder / "foreign", CHATML, [text[::-1] for text in texts], layers=1, hidden=48)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("kd") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    command = [sys.executable, "-c", MAKE_BASES, str(Path(__file__).parent), str(folder)]
    subprocess.run([*command, json.dumps([" ".join(row) for row in ROWS])], check=True, capture_output=True)
    return folder


def dataset(shared: Workspace, rows: list[tuple[str, str]], held_out: int = 0) -> DatasetRef:
    with shared.artifacts.staging() as stage:
        with DatasetWriter(stage, seed=0) as writer:
            for number, (a, b) in enumerate(rows):
                split = "validation" if number < held_out else "train"
                writer.add(Sample.of(f"r{number}", a, b), split, f"g{number}")
        facts = {"train_rows": len(rows) - held_out, "validation_rows": held_out}
        return shared.artifacts.save(DatasetRef, stage, facts)


def run(shared: Workspace, name: str, **asked: Any) -> FinetuneResult:
    workdir = shared.run_folder("run") / name
    workdir.mkdir(parents=True)
    ctx = StepContext(shared, "run", name, f"key-{name}", workdir)
    ask = {"batch_size": 16, "learning_rate": 5e-3, "epochs": 10, **asked}
    return finetune(FinetuneRequest.model_validate(ask), ctx)


@pytest.fixture(scope="module")
def taught(shared: Workspace, bases: Path) -> tuple[DatasetRef, CheckpointRef]:
    """What the teacher learned from, and the teacher: it says `nine` where the rows say numbers."""
    rows = dataset(shared, [(question, "nine") for question, _ in ROWS])
    made = run(shared, "teacher", data=rows, base=bases / "large", keep="last").checkpoint
    assert made is not None
    return rows, made


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    return dataset(shared, ROWS[:40], held_out=8)


def test_a_student_learns_what_its_teacher_says_more_than_the_rows(
    shared: Workspace, bases: Path, taught: tuple[DatasetRef, CheckpointRef], data: DatasetRef
) -> None:
    ask = {"data": data, "base": bases / "small", "keep": "last"}
    alone = run(shared, "alone", **ask)
    student = run(shared, "student", **ask, teacher=taught[1], teacher_share=1.0)
    chats = [user_chat(question) for question, _ in ROWS[8:24]]
    says = {}
    for name, made in (("alone", alone), ("student", student)):
        assert made.checkpoint is not None
        engine = CheckpointEngine(shared.artifacts.open(made.checkpoint).path)
        scored = engine.loglikelihood(chats, [["nine"]] * len(chats))
        says[name] = sum(one[0].logprob for one in scored) / len(chats)
    assert says["student"] > says["alone"] + 2  # of the teacher's answer, which no row has
    assert student.steps == 20 and student.validation_loss is not None
    assert student.checkpoint is not None
    recipe = (shared.artifacts.open(student.checkpoint).path / "recipe.yaml").read_text()
    assert "recipe: KnowledgeDistillationRecipeForNextTokenPrediction" in recipe and "kd_ratio: 1.0" in recipe


def test_what_the_teacher_saw_counts_as_seen_by_the_student(
    shared: Workspace, bases: Path, taught: tuple[DatasetRef, CheckpointRef], data: DatasetRef
) -> None:
    ask = {"data": data, "base": bases / "small", "max_steps": 2, "teacher": taught[1], "method": "lora"}
    made = run(shared, "lineage", **ask)
    assert made.adapter is not None
    for ref in (made.checkpoint, made.adapter):
        assert ref is not None
        checkpoint = shared.artifacts.open(ref)
        assert checkpoint.facts["teacher"] == taught[1] and set(checkpoint.parents) == {data, taught[1]}
        datasets = training_datasets(shared.artifacts, ref)
        assert datasets == [data, taught[0]]
        asked = [question for question, _ in ROWS[40:]]  # only the teacher saw these
        found = find_overlap(training_texts(shared.artifacts, datasets), asked)
        assert set(map(str, found.values())) == {"verbatim"} and len(found) == len(asked)


def test_a_teacher_of_another_tokenizer_or_length_is_refused_before_it_teaches(
    shared: Workspace, bases: Path, data: DatasetRef
) -> None:
    ask = {"data": data, "base": bases / "small", "max_steps": 2}
    with pytest.raises(AskError, match="tokens"):
        run(shared, "foreign", **ask, teacher=bases / "foreign")
    config = bases / "large" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "max_position_embeddings": 64}))
    with pytest.raises(AskError, match="more than the teacher reads"):
        run(shared, "short", **ask, teacher=bases / "large", max_tokens=128)
    config.write_text(json.dumps(values))
    tokenizer = bases / "large" / "tokenizer_config.json"
    told = json.loads(tokenizer.read_text())
    tokenizer.write_text(json.dumps({**told, "auto_map": {"AutoTokenizer": ["own.py", None]}}))
    with pytest.raises(AskError, match="auto_map"):
        run(shared, "code", **ask, teacher=bases / "large")
