"""Training on a `.nemo` archive itself: imported on the way, in the lineage, and refused when it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opswright.core.artifact_refs import CheckpointRef, DatasetRef
from opswright.core.contract import NullEvents, StepContext
from opswright.core.errors import AskError, IntegrityError
from opswright.core.files import sha256_file
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.finetune import FinetuneRequest, finetune
from opswright.skills.finetune.adapters import base_of
from opswright.skills.nemo_archive.importable import NemoImport

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


class Log(NullEvents):
    """Events that keep what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, step: str, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    script = Path(__file__).with_name("megatron_archives.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("nemo") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def data(shared: Workspace) -> DatasetRef:
    def row(number: int) -> str:
        turns = [("user", f"one plus {number}"), ("assistant", "two" if number % 2 else "three")]
        return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n"

    with shared.artifacts.staging() as stage:
        (stage / "train.jsonl").write_text("".join(map(row, range(16))))
        return shared.artifacts.save(DatasetRef, stage, {"train_rows": 16, "validation_rows": 0})


def step(shared: Workspace, name: str) -> tuple[StepContext, Log]:
    workdir, log = shared.run_folder("run") / name, Log()
    workdir.mkdir(parents=True, exist_ok=True)
    return StepContext(shared, "run", name, f"key-{name}", workdir, events=log), log


def asked(made: Path, data: DatasetRef, archive: Path, method: str) -> FinetuneRequest:
    given = NemoImport(tokenizer=made / "gqa", golden=made / "gqa.jsonl")
    values = {"data": data, "base": archive, "method": method, "max_steps": 2, "batch_size": 8}
    return FinetuneRequest.model_validate(values | {"nemo": given.model_dump()})


def test_a_training_goes_on_from_an_archive_and_its_lineage_holds_the_archives_digest(
    shared: Workspace, made: Path, data: DatasetRef
) -> None:
    ctx, log = step(shared, "sft")
    result = finetune(asked(made, data, made / "gqa.nemo", "sft"), ctx)
    assert any("keys of the archive, all placed" in line and "Experimental" in line for line in log.lines)
    assert result.checkpoint is not None
    trained = shared.artifacts.open(result.checkpoint)
    parent = next(ref for ref in trained.parents if isinstance(ref, CheckpointRef))
    imported = shared.artifacts.open(parent).facts
    assert trained.facts["base"] == parent and imported["base"] == "nemo:gqa.nemo"
    assert imported["base_digest"] == sha256_file(made / "gqa.nemo") and imported["golden"]
    ctx, log = step(shared, "lora")
    result = finetune(asked(made, data, made / "gqa.nemo", "lora"), ctx)
    assert not any("importing" in line for line in log.lines)  # it is here already
    assert result.adapter is not None
    adapter = shared.artifacts.open(result.adapter)
    assert base_of(adapter, shared) == shared.artifacts.open(parent).path


def test_an_archive_that_is_not_its_model_trains_nothing(
    shared: Workspace, made: Path, data: DatasetRef
) -> None:
    ctx, _ = step(shared, "wrong")
    with pytest.raises(AskError, match=r"golden answers.*wrong order load without an error"):
        finetune(asked(made, data, made / "gqa-wrong.nemo", "sft"), ctx)
    assert not (ctx.workdir / "recipe.yaml").exists()


def test_an_archive_that_changes_while_it_is_imported_is_no_base(
    shared: Workspace, made: Path, data: DatasetRef, tmp_path: Path
) -> None:
    ctx, _ = step(shared, "changing")
    archive = tmp_path / "changing.nemo"
    archive.write_bytes((made / "gqa.nemo").read_bytes() + bytes(10_240))  # another file: not imported yet
    over = threading.Event()

    def change() -> None:
        while not (ctx.workdir / "imported").exists() and not over.wait(0.01):
            pass
        with archive.open("ab") as file:
            file.write(bytes(10_240))

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with pytest.raises(IntegrityError, match="changed while it was imported"):
            finetune(asked(made, data, archive, "sft"), ctx)
    finally:
        over.set()
        changing.join()
