"""An engine target whose releases have one fault each: a Triton model of its own, with no weights.

A bundle's `engine/fault.json` says which: {"fault": "healthy", "seed": 1}. On PYTHONPATH it is an installed
package; nothing of Opswright knows it.
"""

from __future__ import annotations

import json
from pathlib import Path

from opswright.core.artifact_refs import BundleRef
from opswright.core.errors import AskError
from opswright.core.workspace import Workspace
from opswright.engines import Engine
from opswright.engines.builders.base import EngineBuilder
from opswright.engines.registry import EngineTarget

FAULTS = ("healthy", "wrong answers", "+300 ms", "5 % errors", "60 % blocks", "garbage", "crash at start")


def _no_engine(folder: Path, threads: int) -> Engine:
    raise AskError("a faulty engine runs on Triton only")


def _no_builder() -> EngineBuilder:
    raise AskError("a faulty engine is not built: see faulty_bundle")


TARGET = EngineTarget(
    name="faulty",
    summary="Answers with one fault, for rollouts to find.",
    open=_no_engine,
    builder=_no_builder,
    triton=Path(__file__).parent / "faulty_triton",
)


def faulty_bundle(workspace: Workspace, fault: str, seed: int) -> BundleRef:
    """A bundle with that fault; the seed tells it from others that have the same."""
    with workspace.artifacts.staging() as stage:
        (stage / "engine").mkdir()
        (stage / "engine" / "fault.json").write_text(json.dumps({"fault": fault, "seed": seed}))
        (stage / "manifest.json").write_text("{}")
        return workspace.artifacts.save(BundleRef, stage, {"target": "faulty"})
