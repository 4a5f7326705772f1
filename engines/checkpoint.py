"""A Hugging Face checkpoint answers, by transformers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, NeedsError
from ..core.install import install_hint
from ..data.batches import by_length
from .base import MAX_NEW_TOKENS, Answer, Progress, no_chat_template

_BATCH = 256


class CheckpointTarget:
    """Greedy generation from a local folder of safetensors; no code of the folder is run.

    `device` is auto, cpu or cuda. Raises NeedsError without torch and transformers, BackendError when the
    folder does not load or holds NaN or infinite weights.
    """

    def __init__(
        self, folder: Path, device: str = "auto", threads: int = 2, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> None:
        # A spinning thread pool is up to 40 times slower when another process wants its core.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        for name in ("torchao", "torch.utils._pytree"):  # warnings about GPU kernels, at import
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging as transformers_logging
        except ImportError as error:
            raise NeedsError(
                f"a checkpoint is evaluated with torch and transformers ({error}). "
                f"Install: {install_hint('train')}"
            ) from error
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.max_new_tokens = max_new_tokens
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError) as error:
            raise BackendError(f"cannot load the checkpoint in {folder}: {error}") from error
        if not self.tokenizer.chat_template:
            raise no_chat_template(folder)
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise BackendError(f"{name} of {folder} holds NaN or infinity: its training diverged.")
        self.model = model.to(self.device).eval()
        self.context = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)

    def answer(self, prompts: Sequence[str], progress: Progress) -> list[Answer]:
        """One answer for each prompt, in their order."""
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        texts = self.tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
        token_ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if prompts else []
        answers = [Answer(None, 0.0)] * len(prompts)
        done = 0
        for batch in by_length(token_ids, _BATCH):
            started = time.perf_counter()
            if len(token_ids[batch[0]]) < self.context:
                said = self._generate([token_ids[i] for i in batch])
                waited_ms = (time.perf_counter() - started) * 1000
                for i, text in zip(batch, said, strict=True):
                    answers[i] = Answer(text, waited_ms)
            done += len(batch)
            progress(done, len(prompts))
        return answers

    def _generate(self, token_ids: list[list[int]]) -> list[str]:
        import torch

        inputs = torch.tensor(token_ids, device=self.device)
        length = inputs.shape[1]
        with torch.inference_mode():
            sequences = self.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=min(self.max_new_tokens, self.context - length),
                pad_token_id=self.tokenizer.pad_token_id
                if self.tokenizer.pad_token_id is not None
                else self.tokenizer.eos_token_id,
            )
        decoded = self.tokenizer.batch_decode(sequences[:, length:], skip_special_tokens=True)
        return [text.strip() for text in decoded]
