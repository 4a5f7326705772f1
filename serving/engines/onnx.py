"""ONNX Runtime GenAI engines for CPU: export and quantise a checkpoint, and run the result.

The export imports torch, so it runs in a worker process; running an engine needs neither torch nor
transformers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AskError, BackendError, NeedsError
from ...core.install import install_hint
from ...data.batches import by_length
from . import BuildResult, Message, ParityCase, Target

if TYPE_CHECKING:
    import numpy

PRECISIONS: dict[Target, str] = {"onnx-int8": "int8", "onnx-int4": "int4", "onnx-fp32": "fp32"}
_LARGEST_BATCH = 32  # of ONNX Runtime GenAI 0.18
_POLL_S = 0.2


class OnnxBuilder:
    """Builds with `onnxruntime_genai.models.builder` in a worker process."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def build(
        self,
        checkpoint: Path,
        out: Path,
        parity_texts: Sequence[str],
        *,
        max_new_tokens: int,
        threads: int,
        log: Path,
        tick: Callable[[], None] = lambda: None,
    ) -> BuildResult:
        """Build into `out`, which must not exist, and try it; see EngineBuilder."""
        work = out.with_name(f".{out.name}.work")
        work.mkdir(parents=True, exist_ok=True)
        job = work / "job.json"
        report = work / "report.json"
        report.unlink(missing_ok=True)
        job.write_text(
            json.dumps(
                {
                    "checkpoint": str(checkpoint),
                    "out": str(out),
                    "cache": str(work / "cache"),
                    "report": str(report),
                    "precision": PRECISIONS[self.target],
                    "texts": list(parity_texts),
                    "max_new_tokens": max_new_tokens,
                    "threads": threads,
                }
            ),
            encoding="utf-8",
        )
        code = _run(job, threads, log, tick)
        if code or not report.is_file():
            raise BackendError(f"the engine build ended with code {code}: {_last_line(log)}", log=log)
        found = json.loads(report.read_text(encoding="utf-8"))
        return BuildResult(
            out, self.target, found["tools"], tuple(ParityCase(**case) for case in found["cases"])
        )


def _run(job: Path, threads: int, log: Path, tick: Callable[[], None]) -> int:
    """Run the worker to its end; its exit code. It never outlives this call, nor this process."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }
    with log.open("ab") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "opswright.serving.engines.onnx_worker", str(job)],
            env=env,
            cwd=job.parent,
            stdin=subprocess.PIPE,  # closes when this process dies, however it dies
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while worker.poll() is None:
                tick()
                time.sleep(_POLL_S)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
            if worker.stdin:
                worker.stdin.close()
    return worker.returncode


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


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
