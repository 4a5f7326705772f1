"""Manifests checked offline: by the API's published schemas, and by rules for what those let pass."""

from __future__ import annotations

from collections.abc import Mapping

from ....compute.manifests import faults_of_form, faults_of_rules
from ....core.errors import AskError
from ..objects import Manifest
from .between import faults_between
from .fault import FileFault
from .objects import faults_of_object
from .schemas import custom_schemas, faults_of_predictor
from .secrets import faults_of_secrets


def faults_of(manifests: Mapping[str, Manifest], version: str) -> list[FileFault]:
    """Everything that is wrong with a set of manifests, for a version of Kubernetes' API; [] for nothing.

    Rules look at what has the right form alone: a file with faults of its form is not searched further.
    """
    found: list[FileFault] = []
    well_formed: dict[str, Manifest] = {}
    for file, manifest in manifests.items():
        faults = faults_of_form(manifest, version, custom_schemas())
        if not faults and manifest["kind"] == "InferenceService":
            faults = faults_of_predictor(manifest, version)
        if not faults:
            well_formed[file] = manifest
            faults = [*faults_of_rules(manifest), *faults_of_object(manifest)]
        found += (FileFault(file, fault.path, fault.message) for fault in faults)
        found += faults_of_secrets(file, manifest)
    if len(well_formed) == len(manifests):
        found += faults_between(well_formed)
    return found


def check(manifests: Mapping[str, Manifest], version: str) -> None:
    """AskError that lists every fault of a set of manifests."""
    if faults := faults_of(manifests, version):
        lines = "\n".join(f"  {fault}" for fault in faults)
        number = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        raise AskError(f"the manifests are not valid for Kubernetes {version} ({number}):\n{lines}")
