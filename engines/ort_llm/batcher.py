"""Which prompts are generated together and when: they come from any thread and join those that run.

Triton's stub runs this file as well, copied beside model.py into an interpreter without Opswright, so it
imports nothing but the standard library.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .generation import GenerationJob, Group, OrtModel

MAX_BATCH = 32  # the most sequences onnxruntime-genai takes in one generator


class Batcher:
    """One engine and the thread that runs it; `submit` may be called from any thread.

    encode: sets a job's tokens, or raises what its `on_error` is told.

    New prompts join between two tokens of the running ones, so a short answer never waits for a long one.
    Prompts of equal length share a forward pass: no padding, so an answer never depends on its neighbours.
    """

    def __init__(self, model: OrtModel, encode: Callable[[GenerationJob], None]) -> None:
        self.model = model
        self._encode = encode
        self._inbox: queue.SimpleQueue[GenerationJob | None] = queue.SimpleQueue()
        self._waiting: list[GenerationJob] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, job: GenerationJob) -> None:
        """Queue a job; its callbacks tell the rest."""
        if self._closed:
            job.on_error(RuntimeError("the engine is closed"))
        else:
            self._inbox.put(job)

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        groups: list[Group] = []
        closing = False
        while not closing or groups or self._waiting:
            closing |= self._take_in(block=not (groups or self._waiting or closing))
            self._start(groups)
            # no name may keep a finished job here: Triton unloads only when its requests are let go
            groups = [group for group in groups if group.step()]

    def _take_in(self, *, block: bool) -> bool:
        """Move what arrived to the waiting list, encoded; whether the end was among it."""
        while True:
            try:
                job = self._inbox.get(block=block)
            except queue.Empty:
                return False
            if job is None:
                return True
            block = False
            try:
                self._encode(job)
                self._waiting.append(job)
            except Exception as error:
                job.on_error(error)

    def _start(self, groups: list[Group]) -> None:
        """Turn waiting jobs into groups, oldest first, up to MAX_BATCH sequences in all."""
        room = MAX_BATCH - sum(row.live for group in groups for row in group.rows)
        while self._waiting and room > 0:
            first = self._waiting[0]
            alike = [job for job in self._waiting if _alike(job, first)]
            chosen = list(itertools.islice(alike, room))
            room -= len(chosen)
            self._waiting = [job for job in self._waiting if not any(job is one for one in chosen)]
            try:
                groups.append(self.model.start(chosen))
            except Exception as error:
                for job in chosen:
                    job.on_error(error)


def _alike(one: GenerationJob, other: GenerationJob) -> bool:
    """Whether two jobs may share a generator; sampled ones never do, so that a seed means one answer."""
    if one is other:
        return True
    shareable = all(job.sampling.temperature <= 0 and not job.sampling.json_schema for job in (one, other))
    return shareable and len(one.tokens) == len(other.tokens)
