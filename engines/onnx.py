"""ONNX Runtime GenAI engines, loaded in this process; neither torch nor transformers is needed to run one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, NeedsError
from ..core.install import install_hint
from ..data.batches import by_length
from .base import Chat, GenerationListener, GenerationOptions, GenerationResult, Progress, PromptError
from .ort_llm.batcher import MAX_BATCH, Batcher
from .ort_llm.generation import GenerationJob, Group, OrtModel, Sampling, WrongSchema
from .ort_llm.prompts import PromptEncoder, WrongPrompt

_REFUSALS = (WrongPrompt, WrongSchema)  # what the caller must change


class OnnxEngine:
    """An engine folder as ONNX Runtime GenAI's builder leaves it.

    `generate` runs in the caller's thread, in batches of equal length; `submit` hands a chat to a thread of
    its own, where new chats join those that are being answered. Raises NeedsError without onnxruntime-genai,
    BackendError when the folder does not load.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        try:
            self._model = OrtModel(folder, threads)
            self._prompts = PromptEncoder(folder, self._model.tokenizer, self._model.context)
        except ImportError as error:
            raise NeedsError(
                f"ONNX Runtime GenAI runs this engine ({error}). Install: {install_hint('serve')}"
            ) from error
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise BackendError(f"cannot load the engine in {folder}: {error}") from error
        self._batcher: Batcher | None = None
        self._guard = threading.Lock()

    @property
    def version(self) -> str:
        """The library and its version."""
        from importlib.metadata import version

        return f"onnxruntime-genai {version('onnxruntime-genai')}"

    def generate(
        self, chats: Sequence[Chat], options: GenerationOptions, progress: Progress | None = None
    ) -> list[GenerationResult]:
        """One result for each chat, in their order; see Engine."""
        results: list[GenerationResult | None] = [None] * len(chats)
        jobs = [self._job(chat, options, partial(_keep, results, i)) for i, chat in enumerate(chats)]
        waiting = [number for number, job in enumerate(jobs) if self._encode(job)]
        done = len(jobs) - len(waiting)
        may_share = options.is_greedy and not options.json_schema
        size = MAX_BATCH if may_share else 1  # a sampled text depends on its seed alone
        for batch in by_length([jobs[number].tokens for number in waiting], size):
            numbers = [waiting[place] for place in batch]
            started = time.perf_counter()
            self._run([jobs[number] for number in numbers])
            waited_ms = (time.perf_counter() - started) * 1000
            for number in numbers:
                if (result := results[number]) is not None:
                    results[number] = result._replace(latency_ms=waited_ms)
            done += len(numbers)
            if progress is not None:
                progress(done, len(chats))
        return [result or GenerationResult(None, "error", error="no answer") for result in results]

    def submit(self, chat: Chat, options: GenerationOptions, listener: GenerationListener) -> None:
        """Begin a chat beside those that are being answered; see StreamingEngine."""
        with self._guard:
            if self._batcher is None:
                self._batcher = Batcher(self._model, self._prompts.encode)
        job = self._job(chat, options, listener.on_result, _told_as_ours(listener.on_error))
        if listener.on_text is not None:
            job.on_text = listener.on_text
            job.on_done = partial(_end_of_stream, listener.on_result)
        job.is_cancelled = listener.is_cancelled
        self._batcher.submit(job)

    def close(self) -> None:
        """Answer what was submitted, then free the model."""
        with self._guard:
            batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.close()

    def _encode(self, job: GenerationJob) -> bool:
        """Whether a job's prompt is taken; when not, its result says why."""
        try:
            self._prompts.encode(job)
        except Exception as error:  # the tokenizer's own errors have no common type
            job.on_error(error)
            return False
        return True

    def _run(self, jobs: list[GenerationJob]) -> None:
        """Generate for prompts of one length, to the end."""
        try:
            group = Group(self._model, jobs)
        except Exception as error:  # the engine's own errors have no common type
            for job in jobs:
                job.on_error(error)
            return
        while group.step():
            pass

    def _job(
        self,
        chat: Chat,
        options: GenerationOptions,
        on_result: Callable[[GenerationResult], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> GenerationJob:
        logprobs: list[dict[str, Any]] = []

        def done(text: str, reason: str, tokens_in: int, tokens_out: int) -> None:
            on_result(GenerationResult(text, reason, tokens_in, tokens_out, logprobs=tuple(logprobs)))

        def failed(error: Exception) -> None:
            refused = isinstance(error, _REFUSALS)
            on_result(GenerationResult(None, "refused" if refused else "error", error=str(error)))

        sampling = Sampling(
            options.temperature, options.top_k, options.top_p, options.seed, options.json_schema
        )
        return GenerationJob(
            text=options.prompt,
            messages="" if options.prompt else json.dumps([dict(message) for message in chat]),
            tools=options.tools,
            max_tokens=options.max_tokens,
            sampling=sampling,
            stop=options.stop,
            top_logprobs=options.top_logprobs,
            logprobs=logprobs,
            on_done=done,
            on_error=on_error or failed,
        )


def _keep(results: list[GenerationResult | None], number: int, result: GenerationResult) -> None:
    results[number] = result


def _end_of_stream(
    on_result: Callable[[GenerationResult], None], text: str, reason: str, tokens_in: int, tokens_out: int
) -> None:
    on_result(GenerationResult("", reason, tokens_in, tokens_out))


def _told_as_ours(on_error: Callable[[Exception], None]) -> Callable[[Exception], None]:
    def tell(error: Exception) -> None:
        on_error(PromptError(str(error)) if isinstance(error, _REFUSALS) else error)

    return tell
