"""The prompts in MLflow's prompt registry, each version once, found again by its alias."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .prompts import prompts

PREFIX = "opswright-planner-"


@dataclass(frozen=True)
class RegisteredPrompt:
    """A prompt as MLflow has it: `version` is MLflow's own number."""

    name: str
    version: int
    digest: str
    is_new: bool


def register_prompts(tracking_uri: str) -> list[RegisteredPrompt]:
    """Have every version of every prompt in the registry.

    A version whose text somebody changed there is registered anew, and the alias moved to it.
    """
    import mlflow

    found = []
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    try:
        for one in prompts():
            name, alias = f"{PREFIX}{one.name}", f"shipped-{one.version}"
            known = mlflow.genai.load_prompt(f"prompts:/{name}@{alias}", allow_missing=True)
            is_new = known is None or _digest(str(known.template)) != one.digest
            if is_new or known is None:
                known = mlflow.genai.register_prompt(
                    name=name,
                    template=one.text,
                    commit_message=f"{one.label} as Opswright ships it",
                    tags={"sha256": one.digest, "shipped_version": str(one.version)},
                )
                mlflow.genai.set_prompt_alias(name, alias=alias, version=known.version)
            found.append(RegisteredPrompt(name, int(known.version), one.digest, is_new))
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
