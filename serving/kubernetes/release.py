"""One release as a cluster runs it: named by what it is made of, so that each is a Triton of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from ...core.artifact_refs import BundleRef, GuardrailRef
from ...core.errors import AskError, IntegrityError
from ...core.files import canonical_json, sha256_json
from ...core.workspace import Workspace
from ...engines.registry import engine_target
from ...engines.trtllm.layout import TRITON_SCRIPT, triton_image
from ...engines.trtllm.options import TrtllmOptions
from ...engines.trtllm.triton_config import MODEL as GPU_MODEL
from ..releases import EndpointState, Release, served_digest

DOMAIN = "opswright.dev"
_NUMBER = 1  # a cluster's releases are told apart by their digest, not counted
_EPOCH = "1970-01-01T00:00:00.000Z"  # the same release is the same bytes, whenever it is written


@dataclass(frozen=True)
class GpuNeeds:
    """What a bundle for GPUs needs of a pod: how many, NVIDIA's container, the folder it must lie in."""

    gpus: int
    image: str
    mount: str


@dataclass(frozen=True)
class ClusterRelease:
    """A bundle with its rails for an endpoint, and where its files lie on the cluster.

    gpu: None for a bundle that runs on CPUs. plan: the id of the plan that it is written or applied by.
    source: `pvc:CLAIM/PATH` or `s3://BUCKET/PREFIX`, which holds the workspace's `artifacts`.
    """

    endpoint: str
    namespace: str
    bundle: BundleRef
    guardrails: GuardrailRef | None
    target: str
    source: str
    gpu: GpuNeeds | None = None
    plan: str = ""

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        endpoint: str,
        namespace: str,
        bundle: BundleRef,
        guardrails: GuardrailRef | None,
        source: str,
        plan: str = "",
    ) -> ClusterRelease:
        """The release of artifacts that are in the workspace, whole; AskError for what no Triton serves."""
        found = workspace.artifacts.open(bundle)
        if guardrails is not None:
            workspace.artifacts.open(guardrails)
        target = str(found.facts.get("target", ""))
        gpu = _gpu_needs(found.path / "engine")
        if gpu is None and engine_target(target).triton is None:
            raise AskError(f"Triton cannot serve a bundle of target '{target}', so no cluster can.")
        return cls(endpoint, namespace, bundle, guardrails, target, source, gpu, plan)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what users of the endpoint get, 64 hex digits."""
        return sha256_json([self.endpoint, self.bundle, self.guardrails])

    @property
    def short(self) -> str:
        """The digits that names hold."""
        return self.digest[:10]

    @property
    def id(self) -> str:
        """What the engine says in each answer, and the gateway in each header."""
        return f"c-{self.digest[:16]}"

    @property
    def model(self) -> str:
        """The model's name in Triton."""
        return GPU_MODEL if self.gpu else f"{self.endpoint}-v{_NUMBER}"

    def name(self, part: str, *, of_release: bool = False) -> str:
        """The name of an object: of the endpoint, or of this release of it alone."""
        return f"ops-{self.endpoint}-{part}" + (f"-{self.short}" if of_release else "")

    def labels(self, part: str, *, of_release: bool = False) -> dict[str, str]:
        """What selects the pods of a part; with `of_release`, of this release alone."""
        found = {
            "app.kubernetes.io/name": "opswright",
            "app.kubernetes.io/instance": f"ops-{self.endpoint}",
            "app.kubernetes.io/component": part,
        }
        return found | ({f"{DOMAIN}/release": self.short} if of_release else {})

    @property
    def proof(self) -> dict[str, str]:
        """The annotations of a pod: what runs there, by digest."""
        found = {f"{DOMAIN}/release-digest": self.digest, f"{DOMAIN}/bundle": str(self.bundle)}
        return found | ({f"{DOMAIN}/guardrails": str(self.guardrails)} if self.guardrails else {})

    def state(self) -> EndpointState:
        """What the gateway should serve."""
        release = Release(
            id=self.id,
            number=_NUMBER,
            bundle=self.bundle,
            guardrails=self.guardrails,
            engine=self.target,
            made=_EPOCH,
        )
        return EndpointState(endpoint=self.endpoint, serial=1, stable=release, last_number=_NUMBER)

    def document(self) -> str:
        """The release as its pods' init containers read it."""
        return canonical_json({"state": self.state().model_dump(mode="json"), "model": self.model}).decode()

    @property
    def serves(self) -> str:
        """What a gateway of it says that it serves."""
        return served_digest({self.endpoint: self.id})


def _gpu_needs(engine: Path) -> GpuNeeds | None:
    """What a bundle with a start script for NVIDIA's container needs; None for any other."""
    path = engine / "bundle.json"
    if not path.is_file() or not (engine / TRITON_SCRIPT).is_file():
        return None
    try:
        options = TrtllmOptions.model_validate(json.loads(path.read_text(encoding="utf-8"))["options"])
    except (ValueError, KeyError, ValidationError) as error:
        raise IntegrityError(f"{path} does not hold a bundle's options: {error}. Build it anew.") from error
    return GpuNeeds(options.gpus * options.instances, triton_image(options), options.mount)
