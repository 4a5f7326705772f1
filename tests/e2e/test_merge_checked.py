"""A merge that goes wrong is noticed: what is saved must say what base and adapters say.

The wrong ones go wrong by themselves: a head that shares its matrix with the embedding, and weights in 16
bits that overflow.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opswright.core.errors import BackendError
from opswright.skills.finetune.export import ADAPTER, largest_gap, merge

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
MAKE = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_bases import CHATML, make_base
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
folder = Path(sys.argv[2])
base = make_base(folder / "plain", CHATML, ["one plus two is three"], layers=1)
tied = make_base(folder / "tied", CHATML, ["one plus two is three"], layers=1, tied=True)
half = AutoModelForCausalLM.from_pretrained(base).half()
half.save_pretrained(folder / "half")
for path in base.glob("*token*"):
    (folder / "half" / path.name).write_bytes(path.read_bytes())
(folder / "half" / "chat_template.jinja").write_bytes((base / "chat_template.jinja").read_bytes())

def adapters(base, name, targets, scale=1.0):
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / base, dtype=torch.float32), config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                weight *= scale
    model.save_pretrained(folder / name)

adapters("plain", "good", ["q_proj", "down_proj"])
adapters("tied", "of-the-head", ["lm_head"])
adapters("half", "too-large", ["down_proj"], scale=1e7)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merges")
    command = [sys.executable, "-c", MAKE, str(Path(__file__).parent), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    said = [{"role": "user", "content": "one plus two"}, {"role": "assistant", "content": "three"}]
    (folder / "train.jsonl").write_text(json.dumps({"messages": said}) + "\n")
    return folder


def test_a_merged_model_gives_the_logits_of_base_and_adapters(made: Path, tmp_path: Path) -> None:
    gap = merge(made / "plain", made / "good", tmp_path / "out", made / "train.jsonl")
    assert 0 < gap < 1e-4
    saved = tmp_path / "out" / ADAPTER / "adapter_model.safetensors"
    assert saved.read_bytes() == (made / "good" / "adapter_model.safetensors").read_bytes()


@pytest.mark.filterwarnings("ignore:Model (has|with) `tie_word_embeddings")
@pytest.mark.parametrize(("base", "adapter"), [("tied", "of-the-head"), ("half", "too-large")])
def test_a_merge_that_goes_wrong_is_refused(made: Path, tmp_path: Path, base: str, adapter: str) -> None:
    with pytest.raises(BackendError, match="merged model is not the base with its adapters: logits differ"):
        merge(made / base, made / adapter, tmp_path / "out", made / "train.jsonl")


def test_logits_that_are_no_numbers_are_the_largest_gap() -> None:
    import torch

    right, wrong = torch.tensor([1.0, 2.0]), torch.tensor([1.0, float("nan")])
    assert largest_gap([right], [right + 0.5]) == 0.25
    gap = largest_gap([right, right], [wrong, right])
    assert gap != gap
