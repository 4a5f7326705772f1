"""Builds TensorRT-LLM bundles: a quantised checkpoint, the files of its servers, a check on this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.files import sha256_file, sha256_json, sha256_path
from ...core.settings import NO_TELEMETRY, PATIENT_THREADS
from ..base import Chat
from ..builders.base import BuildResult, ParityCase, RunWorker, WorkerCall
from . import quantise_worker, transformers4
from .environment import interpreter, tools
from .kept import QuantisedCache
from .model_facts import read_facts
from .options import TrtllmOptions

JOB, REPORT, ENGINE, QUANTISED = "build.json", "report.json", "engine", "quantised"
_WORKER = "opswright.engines.trtllm.build_worker"
_CODE = (Path(quantise_worker.__file__), Path(transformers4.__file__))  # what decides on the weights besides


class TrtllmBuilder:
    """Quantises by ModelOpt, on CPU or GPU, and lays the bundle out.

    A quantised checkpoint is kept by what it was made of: the weights, the recipe, the rows that chose its
    scales, the prompts it answered, the versions of the tools. Settings of the server are none of these, so a
    bundle with others is laid out anew and not quantised again.
    """

    def __init__(self, target: str, options: TrtllmOptions) -> None:
        self.target, self.options = target, options

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        prompts: Sequence[Chat],
        *,
        calibration: Sequence[Chat],
        max_new_tokens: int,
        min_agreement: float,
        threads: int,
        kept: Path,
        run: RunWorker,
    ) -> BuildResult:
        """Build in a folder, and try what it answers; see EngineBuilder."""
        options = self.options.fitted(read_facts(checkpoint).positions)
        recipe = options.recipe
        quantiser = str(interpreter()) if recipe.preset else None
        asked = {
            "preset": recipe.preset,
            "cache_preset": recipe.cache_preset,
            "calibration": [list(map(dict, chat)) for chat in calibration] if recipe.is_calibrated else [],
            "prompts": [list(map(dict, chat)) for chat in prompts],
            "max_new_tokens": max_new_tokens,
        }
        made_of = {**asked, "checkpoint": sha256_path(checkpoint), "tools": tools() if recipe.preset else {}}
        cache = QuantisedCache(kept, sha256_json({**made_of, "code": [sha256_file(file) for file in _CODE]}))
        known = cache.find()
        linked = {"checkpoint": checkpoint, **({} if known is None else {QUANTISED: known})}
        job = {**asked, "options": options.model_dump(mode="json"), "threads": threads}
        call = WorkerCall(
            command=(sys.executable, "-P", "-m", _WORKER, JOB),
            folder=folder,
            inputs=(*linked, JOB),
            outputs=(ENGINE, REPORT, *(["fresh"] if known is None else [])),
            environment=_environment(threads, quantiser),
            prepare=lambda: _lay_out(folder, linked, job),
        )
        done = run(call)
        if known is None:
            cache.keep(done / "fresh")
        found = json.loads((done / REPORT).read_text(encoding="utf-8"))
        cases = tuple(ParityCase(**case) for case in found["cases"])
        return BuildResult(done / ENGINE, self.target, found["tools"], cases, found["facts"])


def _lay_out(folder: Path, linked: dict[str, Path], job: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, "checkpoint", QUANTISED):
        (folder / name).unlink(missing_ok=True)
    for name, target in linked.items():
        os.symlink(target.resolve(), folder / name, target_is_directory=True)
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")


def _environment(threads: int, quantiser: str | None) -> dict[str, str]:
    return {
        **NO_TELEMETRY,
        **PATIENT_THREADS,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        **({"OPSWRIGHT_QUANTISER": quantiser} if quantiser else {}),
    }
