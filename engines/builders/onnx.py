"""ONNX Runtime GenAI engines for CPU: export and quantise a checkpoint, and run the result.

The export imports torch, so it runs in a worker process; running an engine needs neither torch nor
transformers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, NeedsError
from ...core.install import install_hint
from ...data.batches import by_length
from . import BuildResult, Message, ParityCase, RunWorker, Target, WorkerCall

if TYPE_CHECKING:
    import numpy

PRECISIONS: dict[Target, str] = {"onnx-int8": "int8", "onnx-int4": "int4", "onnx-fp32": "fp32"}
_LARGEST_BATCH = 32  # of ONNX Runtime GenAI 0.18


class OnnxBuilder:
    """Builds with `onnxruntime_genai.models.builder` in a worker process."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        parity_texts: Sequence[str],
        *,
        max_new_tokens: int,
        threads: int,
        run: RunWorker,
    ) -> BuildResult:
        """Build in a folder, and try the engine; see EngineBuilder."""
        job = {
            "precision": PRECISIONS[self.target],
            "texts": list(parity_texts),
            "max_new_tokens": max_new_tokens,
            "threads": threads,
        }

        def lay_out() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in ("report.json", "checkpoint"):
                (folder / leftover).unlink(missing_ok=True)
            os.symlink(checkpoint.resolve(), folder / "checkpoint", target_is_directory=True)
            (folder / "build.json").write_text(json.dumps(job), encoding="utf-8")

        call = WorkerCall(
            command=(sys.executable, "-m", "opswright.engines.builders.onnx_worker", "build.json"),
            folder=folder,
            inputs=("checkpoint", "build.json"),
            outputs=("engine", "report.json"),
            environment=_environment(threads),
            prepare=lay_out,
        )
        done = run(call)
        found = json.loads((done / "report.json").read_text(encoding="utf-8"))
        cases = tuple(ParityCase(**case) for case in found["cases"])
        return BuildResult(done / "engine", self.target, found["tools"], cases)


def _environment(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


class OnnxEngine:
    """An ONNX Runtime GenAI engine, loaded in this process."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        try:
            import onnxruntime_genai as og
        except ImportError as error:
            raise NeedsError(
                f"onnxruntime-genai is not installed. Install it: {install_hint('train', 'serve')}"
            ) from error
        og.disable_telemetry_events()
        try:
            config = og.Config(str(folder))
            session = {"intra_op_num_threads": threads}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)
        except RuntimeError as error:
            raise BackendError(f"the engine in {folder} does not load: {error}") from error
        self._og = og
        values = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        self.context_tokens = int(values["model"]["context_length"])

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that the chat template makes of a conversation."""
        text = json.dumps([dict(message) for message in messages])
        return str(self._tokenizer.apply_chat_template(text, add_generation_prompt=True))

    def generate(self, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
        """The greedy completions, in batches of prompts of one length; AskError for one that does not fit."""
        tokens = [self._encode(prompt) for prompt in prompts]
        answers = [""] * len(prompts)
        for numbers in by_length(tokens, _LARGEST_BATCH):
            length = len(tokens[numbers[0]])
            generator = self._start([tokens[number] for number in numbers], max_new_tokens)
            while not generator.is_done():
                generator.generate_next_token()
            for row, number in enumerate(numbers):
                answers[number] = self._tokenizer.decode(generator.get_sequence(row)[length:]).strip()
        return answers

    def _encode(self, prompt: str) -> numpy.ndarray[Any, Any]:
        tokens = self._tokenizer.encode(prompt)
        if not 0 < len(tokens) < self.context_tokens:
            raise AskError(
                f"a prompt has {len(tokens)} tokens; this engine reads 1 to {self.context_tokens - 1}. "
                "Shorten it."
            )
        return tokens  # type: ignore[no-any-return]

    def _start(self, rows: Sequence[numpy.ndarray[Any, Any]], max_new_tokens: int) -> Any:
        import numpy

        batch = numpy.stack(rows).astype(numpy.int32)  # (rows, tokens)
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(
            max_length=min(self.context_tokens, batch.shape[1] + max_new_tokens),
            batch_size=len(rows),
            do_sample=False,
        )
        generator = self._og.Generator(self._model, params)
        generator.append_tokens(batch)
        return generator
