"""An ONNX bundle answers, by ONNX Runtime GenAI in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, NeedsError
from ..core.install import install_hint
from ..data.batches import by_length
from .base import MAX_NEW_TOKENS, Answer, Progress, no_chat_template

_BATCH = 32  # the most that ONNX Runtime GenAI 0.18 takes


class BundleTarget:
    """Greedy generation from a bundle's `engine/` folder, batches of equal length.

    Raises NeedsError without onnxruntime-genai, BackendError when the engine does not load.
    """

    def __init__(self, engine: Path, threads: int = 2, max_new_tokens: int = MAX_NEW_TOKENS) -> None:
        try:
            import onnxruntime_genai as og
        except ImportError as error:
            raise NeedsError(
                f"a bundle is evaluated with ONNX Runtime GenAI ({error}). Install: {install_hint('serve')}"
            ) from error
        og.disable_telemetry_events()
        self.max_new_tokens = max_new_tokens
        # Threads that spin while they wait take twice as long when another process wants their core.
        options = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "0"}
        try:
            config = og.Config(str(engine))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self.model: Any = og.Model(config)
            self.tokenizer: Any = og.Tokenizer(self.model)
            settings = json.loads((engine / "genai_config.json").read_bytes())["model"]
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise BackendError(f"cannot load the engine in {engine}: {error}") from error
        self.context = int(settings.get("context_length") or 1 << 30)
        ends = settings.get("eos_token_id", [])
        self.ends = frozenset(ends if isinstance(ends, list) else [ends])

    def answer(self, prompts: Sequence[str], progress: Progress) -> list[Answer]:
        """One answer for each prompt, in their order."""
        token_ids = [self._encode(prompt) for prompt in prompts]
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

    def _encode(self, prompt: str) -> list[int]:
        message = json.dumps([{"role": "user", "content": prompt}])
        try:
            text = self.tokenizer.apply_chat_template(message, add_generation_prompt=True)
        except RuntimeError as error:
            raise no_chat_template("the engine") from error
        return [int(token) for token in self.tokenizer.encode(text)]

    def _generate(self, token_ids: list[list[int]]) -> list[str]:
        import numpy as np
        import onnxruntime_genai as og

        length = len(token_ids[0])
        params = og.GeneratorParams(self.model)
        params.set_search_options(
            batch_size=len(token_ids),
            max_length=min(self.context, length + self.max_new_tokens),
            do_sample=False,
            num_beams=1,
        )
        generator = og.Generator(self.model, params)
        generator.append_tokens(np.array(token_ids, dtype=np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [self._decode(generator.get_sequence(i)[length:].tolist()) for i in range(len(token_ids))]

    def _decode(self, tokens: list[int]) -> str:
        end = next((i for i, token in enumerate(tokens) if token in self.ends), len(tokens))
        return str(self.tokenizer.decode(tokens[:end])).strip() if end else ""
