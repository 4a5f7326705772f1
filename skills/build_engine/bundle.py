"""The bundle that an engine is saved as."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from ...core.artifact_refs import ArtifactRef, BundleRef
from ...core.contract import StepContext
from ...engines.builders import BuildResult, ParityCase
from .request import BuildEngineRequest

if TYPE_CHECKING:
    from ...evals.parity import ParityPrompts, ParityScores

_KEPT = 50  # cases that a manifest shows of those that differ


def differing_cases(built: BuildResult) -> list[ParityCase]:
    """The prompts that engine and checkpoint answer differently."""
    return [case for case in built.cases if not case.agrees]


def save_bundle(
    request: BuildEngineRequest,
    ctx: StepContext,
    built: BuildResult,
    prompts: ParityPrompts,
    scores: ParityScores | None,
) -> BundleRef:
    """The bundle: the engine and a manifest that says what it was made of, by what, and how it compares."""
    parity = {
        "agree": sum(case.agrees for case in built.cases),
        "n": len(built.cases),
        "agreement": round(built.agreement, 6),
        "min_agreement": request.min_agreement,
        "prompts": prompts.where,
        "scores": scores._asdict() if scores is not None else None,
        "unscored": prompts.unscored,
    }
    manifest = {
        "target": built.target,
        "checkpoint": str(request.model),
        "tools": dict(built.tools),
        "bytes": built.size_bytes,
        "parity": parity,
        "options": request.options,
        "facts": dict(built.facts),
        "differing": [
            {"text": case.text, "checkpoint": case.checkpoint, "engine": case.engine}
            for case in differing_cases(built)[:_KEPT]
        ],
    }
    with ctx.artifacts.staging() as stage:
        shutil.copytree(built.folder, stage / "engine")
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (stage / "manifest.json").write_text(text, encoding="utf-8")
        parents: list[ArtifactRef] = [request.model]
        return ctx.artifacts.save(
            BundleRef,
            stage,
            facts={
                "target": built.target,
                "checkpoint": str(request.model),
                "parity": parity,
                "bytes": built.size_bytes,
                **{name: built.facts[name] for name in ("not_run", "fell_back") if name in built.facts},
            },
            parents=parents,
        )
