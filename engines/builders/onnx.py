"""Builds ONNX Runtime GenAI engines for CPU: export and quantise.

The export imports torch, so it runs in a worker process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..base import Chat
from .base import BuildResult, ParityCase, RunWorker, WorkerCall


class OnnxBuilder:
    """Builds with `onnxruntime_genai.models.builder` in a worker process.

    precisions: tried in this order until engine and checkpoint agree often enough. adapter: a folder of
    adapters that are left unmerged beside the checkpoint, which is their base.
    """

    def __init__(self, precisions: Sequence[str], adapter: Path | None = None) -> None:
        self.precisions, self.adapter = tuple(precisions), adapter

    def build(
        self,
        checkpoint: Path,
        folder: Path,
        prompts: Sequence[Chat],
        *,
        calibration: Sequence[Chat] = (),
        max_new_tokens: int,
        min_agreement: float = 0.0,
        threads: int,
        kept: Path | None = None,
        run: RunWorker,
    ) -> BuildResult:
        """Build in a folder, and try the engine; see EngineBuilder."""
        job = {
            "precisions": self.precisions,
            "min_agreement": min_agreement,
            "prompts": [list(map(dict, chat)) for chat in prompts],
            "max_new_tokens": max_new_tokens,
            "threads": threads,
        }

        linked = {"checkpoint": checkpoint, **({"adapter": self.adapter} if self.adapter else {})}

        def lay_out() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in ("report.json", "checkpoint", "adapter"):
                (folder / leftover).unlink(missing_ok=True)
            for name, target in linked.items():
                os.symlink(target.resolve(), folder / name, target_is_directory=True)
            (folder / "build.json").write_text(json.dumps(job), encoding="utf-8")

        call = WorkerCall(
            command=(sys.executable, "-P", "-m", "opswright.engines.builders.onnx_worker", "build.json"),
            folder=folder,
            inputs=(*linked, "build.json"),
            outputs=("engine", "report.json"),
            environment=_environment(threads),
            prepare=lay_out,
        )
        done = run(call)
        found = json.loads((done / "report.json").read_text(encoding="utf-8"))
        cases = tuple(ParityCase(**case) for case in found["cases"])
        *coarser, built = found["tried"]
        facts = {"fell_back": coarser} if coarser else {}
        return BuildResult(done / "engine", f"onnx-{built['precision']}", found["tools"], cases, facts)


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
