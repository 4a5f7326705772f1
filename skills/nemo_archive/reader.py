"""The class that opens an exported `.nemo`: put this file beside your own, where nemo-toolkit is installed.

    from reader import CausalLM
    model = CausalLM.restore_from("model.nemo", map_location="cpu")
    logits = model(input_ids)        # (batch, sequence, vocabulary)
    folder = model.tokenizer_folder  # for transformers.AutoTokenizer.from_pretrained

It needs nemo-toolkit[core] 3.0 and transformers, and nothing of Opswright.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from nemo.core.classes.modelPT import ModelPT
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModelForCausalLM


class CausalLM(ModelPT):  # type: ignore[misc]
    """A Hugging Face language model in a NeMo model: for reading; it has no data and trains nothing."""

    def __init__(self, cfg: Any, trainer: Any = None) -> None:
        super().__init__(cfg=cfg, trainer=trainer)
        values = dict(OmegaConf.to_container(cfg.hf_config, resolve=False))
        config = AutoConfig.for_model(values.pop("model_type"), **values)
        self.model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        folder = tempfile.TemporaryDirectory(prefix="tokenizer-")
        self._folder = folder  # removed with the model
        self.tokenizer_folder = Path(folder.name)
        for place, name in OmegaConf.to_container(cfg.tokenizer_files).items():
            found = self.register_artifact(f"tokenizer.{place}", cfg.tokenizer[place])
            (self.tokenizer_folder / name).write_bytes(Path(found).read_bytes())

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits (batch, sequence, vocabulary) of token ids (batch, sequence)."""
        logits: torch.Tensor = self.model(input_ids=input_ids).logits
        return logits

    @classmethod
    def list_available_models(cls) -> None:
        """None: it is read from a file."""

    def setup_training_data(self, *_: Any, **__: Any) -> None:
        """Nothing: it trains nothing."""

    def setup_validation_data(self, *_: Any, **__: Any) -> None:
        """Nothing."""
