"""The model registry: what was made as versions of a model, what an endpoint serves as its aliases.

Bundles are versions of `<endpoint>`, checkpoints of `<endpoint>-checkpoints`; what was made by a plan for no
endpoint goes to `experiments`. `stable` and `canary` follow the records of deploy, promote and rollback.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...core.artifact_refs import ArtifactRef, BundleRef, parse_ref
from ...core.contract import Effect
from ...core.errors import OpswrightError
from ...core.workspace import Workspace
from ..ledger import Phase, Record
from ..run_state import RunState, StepState
from .page import WORKSPACE
from .tracking import Tracking

STABLE, CANARY = "stable", "canary"
NO_ENDPOINT = "experiments"
_ABOUT = {
    "bundle": "Engines for endpoint **{name}**, one version a bundle. `stable` is what it serves, `canary` "
    "what a part of its traffic gets. Written from the ledger of Opswright.",
    "checkpoint": "Checkpoints made for **{name}**, one version a checkpoint. Written from the ledger of "
    "Opswright.",
}


class ModelRegistry:
    """Versions and aliases, written so that writing them again changes nothing."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.client = tracking.client
        self.workspace: Workspace = tracking.workspace
        self._versions: dict[tuple[str, str], str] = {}  # (model, artifact) -> version
        self._names: dict[str, str] = {}  # wanted model name -> this workspace's

    def put_made(self, state: RunState, step: StepState, run_id: str) -> None:
        """The checkpoints and bundles that a step made or reused, as versions."""
        outcome = step.outcome
        if outcome is None:
            return
        for text in outcome.artifacts.values():
            ref = _model_ref(text)
            if ref is not None:
                self.version(self._model(self.endpoint_of(state), ref), ref, run_id, state.run)

    def put_verdict(self, state: RunState) -> None:
        """What the run's last gate decided, on every version that the run made itself."""
        if state.verdict is None:
            return
        for step in state.begun:
            for text in step.last.artifacts.values() if step.last.phase == Phase.DONE else ():
                ref = _model_ref(text)
                if ref is not None:
                    model = self._model(self.endpoint_of(state), ref)
                    version = self.version(model, ref, None, state.run)
                    self.client.set_model_version_tag(model, version, "verdict", state.verdict)

    def put_serving(self, state: RunState, record: Record) -> None:
        """Move the aliases as a record of deploy, promote or rollback says."""
        result = record.detail.get("result", {})
        endpoint, release, route = (result.get(name) for name in ("endpoint", "release", "route"))
        if not isinstance(endpoint, str):
            return
        bundle = state.steps[record.step or ""].request.get("bundle")
        if isinstance(bundle, str) and (ref := _model_ref(bundle)) is not None:
            model = self._model(endpoint, ref)
            version = self.version(model, ref, None, state.run)
            self.client.set_model_version_tag(model, version, f"release.{release}", record.time)
            self._alias(model, CANARY if route == CANARY else STABLE, version)
            if route != CANARY and self._aliases(model).get(CANARY) == version:
                self.client.delete_registered_model_alias(model, CANARY)
            return
        model = self._own_name(_slug(endpoint))
        found = self._version_of_release(model, str(release))
        if found is not None:
            self._alias(model, STABLE, found)
        if CANARY in self._aliases(model) and result.get("canary_now") != CANARY:
            self.client.delete_registered_model_alias(model, CANARY)

    def version(self, model: str, ref: ArtifactRef, run_id: str | None, run: str) -> str:
        """The version of an artifact in a model, made when there is none."""
        if (model, ref) not in self._versions:
            for version in self._all(model):
                self._versions[model, version.tags.get("artifact", "")] = str(version.version)
        if (model, ref) not in self._versions:
            made = self.client.create_model_version(
                model,
                source=self._source(ref, run_id),
                run_id=run_id,
                tags={"artifact": str(ref), "run": run, WORKSPACE: self.tracking.workspace_id},
                description=self._description(ref),
            )
            self._versions[model, ref] = str(made.version)
        return self._versions[model, ref]

    def endpoint_of(self, state: RunState) -> str:
        """The endpoint that the run's plan serves."""
        try:
            plan = json.loads((self.workspace.plans / f"{state.plan}.json").read_bytes())["plan"]
            names = [s["arguments"].get("endpoint") for s in plan["steps"] if s["effect"] == Effect.SERVES]
            names += [gate.get("endpoint") for gate in plan["gates"].values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            names = []
        return next((name for name in names if isinstance(name, str) and name), NO_ENDPOINT)

    def _source(self, ref: ArtifactRef, run_id: str | None) -> str:
        """Where the files are: their folder, or on a server (which refuses that) the step's artifacts."""
        if not self.tracking.is_remote:
            return str(self.workspace.artifacts.folder(ref) / "files")
        if run_id is None:
            return f"opswright:/{ref.kind}/{ref.digest}"
        return f"{self.client.get_run(run_id).info.artifact_uri}/{ref.kind}"

    def _description(self, ref: ArtifactRef) -> str:
        lines = [f"`{ref}`", ""]
        try:
            manifest = json.loads((self.workspace.artifacts.folder(ref) / "artifact.json").read_bytes())
            lines += [f"- {name}: {_shown(value)}" for name, value in manifest["facts"].items()]
            lines += [f"- made from: `{parent}`" for parent in manifest["parents"]]
        except (OSError, ValueError, KeyError):
            lines.append("The artifact is not in the workspace any more.")
        return "\n".join(lines)

    def _model(self, owner: str, ref: ArtifactRef) -> str:
        """The model that an artifact is a version of, made when it is not there."""
        wanted = _slug(owner) if isinstance(ref, BundleRef) else f"{_slug(owner)}-checkpoints"
        model = self._own_name(wanted)
        if not self.client.search_registered_models(f"name = '{model}'"):
            about = _ABOUT[ref.kind].format(name=owner)
            self.client.create_registered_model(
                model, tags={WORKSPACE: self.tracking.workspace_id}, description=about
            )
        return model

    def _own_name(self, wanted: str) -> str:
        """The wanted name, or with a suffix where another workspace on the same server has taken it."""
        if wanted not in self._names:
            own = self.tracking.workspace_id
            found = self.client.search_registered_models(f"name = '{wanted}'")
            is_own = not found or found[0].tags.get(WORKSPACE) == own
            self._names[wanted] = wanted if is_own else f"{wanted}-{own[:6]}"
        return self._names[wanted]

    def _all(self, model: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_model_versions(f"name = '{model}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _version_of_release(self, model: str, release: str) -> str | None:
        for version in self._all(model):
            if f"release.{release}" in version.tags:
                return str(version.version)
        return None

    def _aliases(self, model: str) -> Mapping[str, str]:
        found = self.client.search_registered_models(f"name = '{model}'")
        return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}

    def _alias(self, model: str, alias: str, version: str) -> None:
        if self._aliases(model).get(alias) != version:
            self.client.set_registered_model_alias(model, alias, version)


def _model_ref(text: str) -> ArtifactRef | None:
    try:
        ref = parse_ref(text)
    except OpswrightError:
        return None
    return ref if ref.kind in _ABOUT else None


def _slug(text: str) -> str:
    """A name that MLflow takes for a model."""
    return re.sub(r"[^\w.-]+", "-", text.strip().lower())[:60].strip("-.") or "model"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
