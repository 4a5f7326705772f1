"""The engine worker: `python -m opswright.engines.builders.onnx_worker build.json`, a process of its own.

It works in that file's folder, which holds `checkpoint/`, and `adapter/` where adapters stay unmerged, and
leaves `engine/` and `report.json` there.

Exports and quantises a checkpoint, then answers the prompts with both; where they agree too seldom, in the
next precision. One process does it all, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..base import Engine, GenerationOptions
from ..checkpoint import CheckpointEngine
from ..onnx import OnnxEngine
from .base import ParityCase
from .onnx_adapter import adapted_nodes, lay_base, take_out
from .parity import Answered, compare_engines

_BASE = "base"  # the base of adapters as it is exported
_TOOLS = ("onnxruntime-genai", "onnxruntime", "onnx", "onnx-ir", "torch", "transformers")


def main(job_file: Path) -> None:
    """Do a job and write its report. Started a second time, as after a requeue, it begins anew."""
    job: dict[str, Any] = json.loads(job_file.read_text(encoding="utf-8"))
    os.chdir(job_file.resolve().parent)
    checkpoint, out, report_file = Path("checkpoint"), Path("engine"), Path("report.json")
    adapter = Path("adapter") if Path("adapter").is_dir() else None
    report_file.unlink(missing_ok=True)
    threads, options = job["threads"], GenerationOptions(max_tokens=job["max_new_tokens"])
    model: Engine = CheckpointEngine(checkpoint, "cpu", threads, precision="float32", adapter=adapter)
    model = Answered(model.generate(job["prompts"], options))
    tried: list[dict[str, Any]] = []
    cases: list[ParityCase] = []
    for precision in job["precisions"]:
        shutil.rmtree(out, ignore_errors=True)
        if adapter is None:
            _export(checkpoint, out, precision, Path("cache"))
        else:
            shutil.rmtree(_BASE, ignore_errors=True)
            _export_unmerged(checkpoint, adapter, out, precision, Path("cache"))
        with closing(OnnxEngine(out, threads)) as engine:
            cases = compare_engines(model, engine, job["prompts"], job["max_new_tokens"])
        tried.append({"precision": precision, "agree": sum(case.agrees for case in cases), "n": len(cases)})
        if tried[-1]["agree"] >= job["min_agreement"] * len(cases):
            break
    report = {
        "tools": {name: version(name) for name in _TOOLS},
        "cases": [vars(case) for case in cases],
        "tried": tried,
    }
    report_file.write_text(json.dumps(report), encoding="utf-8")


def _export(checkpoint: Path, out: Path, precision: str, cache: Path, *options: str) -> None:
    arguments = ["-i", str(checkpoint), "-o", str(out), "-p", precision, "-e", "cpu", "-c", str(cache)]
    if options:
        arguments += ["--extra_options", *options]
    before, sys.argv = sys.argv, ["builder", *arguments]
    try:
        runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")
    finally:
        sys.argv = before


def _export_unmerged(base: Path, adapter: Path, out: Path, precision: str, cache: Path) -> None:
    nodes, source = adapted_nodes(adapter), Path(_BASE)
    lay_base(base, adapter, source)
    options = (f"adapter_path={adapter}", f"nodes_to_exclude={','.join(nodes)}")
    _export(source, out, precision, cache, *options)
    take_out(out, nodes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
