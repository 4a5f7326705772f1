"""`.nemo` archives for real: an import gives the model's own logits, and nemo-toolkit opens an export.

The archives to import are made here, after the names and the layout that NVIDIA published. nemo-toolkit is
asked where it is installed, or by the interpreter that OPSWRIGHT_TEST_NEMO_PYTHON names.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opswright.core.artifact_refs import CheckpointRef
from opswright.core.contract import StepContext
from opswright.core.errors import AskError
from opswright.core.settings import load_settings
from opswright.core.workspace import Workspace
from opswright.skills.nemo_archive import NemoArchiveRequest, NemoArchiveResult, nemo_archive

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
GAP = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
ids = torch.arange(3, 43).reshape(2, 20)
for folder, logits in zip(sys.argv[1::2], sys.argv[2::2]):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    AutoTokenizer.from_pretrained(folder).apply_chat_template([{"role": "user", "content": "x"}])
    with torch.inference_mode():
        print(float((model(input_ids=ids).logits - torch.load(logits)).abs().max()))
"""
RESTORE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from reader import CausalLM
model = CausalLM.restore_from(sys.argv[1] + "/model.nemo", map_location="cpu").eval()
with torch.inference_mode():
    logits = model(torch.arange(3, 43).reshape(2, 20))
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(model.tokenizer_folder)
text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
print(float((logits - torch.load(sys.argv[2])).abs().max()), repr(text))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("megatron_archives.py")), str(folder)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(load_settings(home=tmp_path_factory.mktemp("nemo") / "workspace", actor="tester"))


@pytest.fixture(scope="module")
def exported(made: Path, shared: Workspace) -> Path:
    """The folder of an export of the model with grouped queries."""
    with shared.artifacts.staging() as folder:
        for path in (made / "gqa").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        checkpoint = shared.artifacts.save(CheckpointRef, folder, {})
    result = ask(shared, "export", checkpoint=checkpoint)
    assert result.exported is not None
    return shared.artifacts.open(result.exported).path


_NUMBERS: Iterator[int] = iter(range(1000))


def ask(shared: Workspace, action: str, **more: Any) -> NemoArchiveResult:
    name = f"step-{next(_NUMBERS)}"
    workdir = shared.run_folder("run") / name
    workdir.mkdir(parents=True)
    request = NemoArchiveRequest.model_validate({"action": action, **more})
    return nemo_archive(request, StepContext(shared, "run", name, name, workdir))


def program(code: str, *arguments: str, python: str = sys.executable) -> str:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def megatron(made: Path, case: str, variant: str = "") -> dict[str, Any]:
    return {
        "archive": made / f"{case}{variant}.nemo",
        "tokenizer": made / case,
        "golden": made / f"{case}.jsonl",
    }


def test_an_import_gives_the_logits_of_the_model_whatever_its_attention(
    made: Path, shared: Workspace
) -> None:
    asked = []
    for case in ("mha", "gqa", "mqa"):
        result = ask(shared, "import", **megatron(made, case))
        assert result.checkpoint is not None and str(result.note).startswith("Experimental")
        right, _, of = str(result.golden).partition(" of ")
        assert right == of and int(of) >= 3
        asked += [str(shared.artifacts.open(result.checkpoint).path), str(made / f"{case}.logits")]
    assert [float(line) for line in program(GAP, *asked).split()] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("-wrong", r"gives \d of \d golden answers.*wrong order load without an error"),
        (
            "-more",
            r"1 tensors of the archive have no place in a Llama: model\.module\.decoder\.layers\.0\.extra",
        ),
        ("-less", r"lacks 1 tensors of its model: model\.layers\.1\.mlp\.down_proj"),
        ("-ranks", r"are split over several ranks"),
    ],
)
def test_an_archive_that_loads_and_is_not_the_model_is_refused(
    made: Path, shared: Workspace, variant: str, message: str
) -> None:
    with pytest.raises(AskError, match=message):
        ask(shared, "import", **megatron(made, "gqa", variant))


def test_an_export_comes_back_as_it_went_and_is_the_same_bytes_twice(
    made: Path, shared: Workspace, exported: Path
) -> None:
    again = ask(shared, "import", archive=exported / "model.nemo")
    assert again.checkpoint is not None and again.note is None
    folder = shared.artifacts.open(again.checkpoint).path
    assert float(program(GAP, str(folder), str(made / "gqa.logits"))) == 0.0
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (made / "gqa" / name).read_bytes()
    with shared.artifacts.staging() as stage:
        for path in (made / "gqa").iterdir():
            (stage / path.name).write_bytes(path.read_bytes())
        checkpoint = shared.artifacts.save(CheckpointRef, stage, {})
    twice = ask(shared, "export", checkpoint=checkpoint).exported
    assert twice is not None and shared.artifacts.open(twice).path == exported


def test_nemo_toolkit_itself_opens_an_export_in_a_fresh_process_with_equal_logits(
    made: Path, exported: Path
) -> None:
    python = os.environ.get("OPSWRIGHT_TEST_NEMO_PYTHON")
    if python is None and importlib.util.find_spec("nemo") is not None:
        python = sys.executable
    if python is None:
        pytest.skip("nemo-toolkit is not installed here, and OPSWRIGHT_TEST_NEMO_PYTHON names no interpreter")
    last = program(RESTORE, str(exported), str(made / "gqa.logits"), python=python).strip().splitlines()[-1]
    gap, _, text = last.partition(" ")
    assert float(gap) == 0.0 and "<|im_start|>user" in text
