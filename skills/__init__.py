"""Skills: the typed actions on a model's life, a file or folder each."""

from __future__ import annotations

from ..core.registry import Registry, discover, load_artifact_kinds, load_skill

BUILTIN = {
    "curate": "opswright.skills.curate:curate",
    "golden": "opswright.skills.golden:golden",
    "finetune": "opswright.skills.finetune:finetune",
    "nemo-archive": "opswright.skills.nemo_archive:nemo_archive",
    "evaluate": "opswright.skills.evaluate:evaluate",
    "benchmark": "opswright.skills.benchmark:benchmark",
    "learning-curve": "opswright.skills.learning_curve:learning_curve",
    "fit-curve": "opswright.skills.learning_curve.fit:fit_curve",
    "gate": "opswright.skills.gate:gate",
    "build-engine": "opswright.skills.build_engine:build_engine",
    "guardrails": "opswright.skills.guardrails:guardrails",
    "deploy": "opswright.skills.deploy:deploy",
    "roll-out": "opswright.skills.roll_out:roll_out",
    "promote": "opswright.skills.promote:promote",
    "rollback": "opswright.skills.rollback:rollback",
    "kubernetes-manifests": "opswright.skills.kubernetes_manifests:kubernetes_manifests",
    "kubernetes-deploy": "opswright.skills.kubernetes_deploy:kubernetes_deploy",
    "drift": "opswright.skills.drift:drift",
    "retrain": "opswright.skills.retrain:retrain",
    "leaderboard": "opswright.skills.leaderboard:leaderboard",
    "similar-rows": "opswright.skills.similar_rows:similar_rows",
    "gpus": "opswright.skills.gpus:gpus",
}


def load_registry() -> Registry:
    """The built-in skills and those that installed packages bring."""
    load_artifact_kinds()
    return Registry([*(load_skill(target) for target in BUILTIN.values()), *discover()])
