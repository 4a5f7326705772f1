"""Faults of a Kubernetes manifest, found without a cluster.

The published OpenAPI schemas (unknown fields are faults) say what a field's type is; what they leave to the
API server, rules do.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core.errors import AskError
from .fault import ManifestFault, path_of
from .quantities import quantity
from .rules import faults_of_rules, is_label_value, is_name
from .schemas import INSTALL, NEWEST, OLDEST, Manifest, Schemas, faults_of_form

__all__ = [
    "INSTALL",
    "NEWEST",
    "OLDEST",
    "Manifest",
    "ManifestFault",
    "Schemas",
    "faults",
    "faults_of_form",
    "faults_of_rules",
    "is_label_value",
    "is_name",
    "path_of",
    "quantity",
    "require_valid",
]


def faults(manifest: Manifest, version: str, schemas: Schemas | None = None) -> list[ManifestFault]:
    """What a cluster of that version would refuse, or would take and never make work; empty: nothing.

    `schemas` are JSON schemas of kinds that Kubernetes does not publish itself (custom resources); a kind
    without any schema is a fault. AskError for a version whose schemas are not there, NeedsError without
    kubernetes-validate.
    """
    of_form = faults_of_form(manifest, version, schemas)
    if of_form and not isinstance(manifest.get("metadata"), Mapping):
        return of_form
    return list(dict.fromkeys([*of_form, *faults_of_rules(manifest, bool(of_form))]))


def require_valid(manifest: Manifest, version: str, schemas: Schemas | None = None) -> None:
    """AskError that names every fault of a manifest."""
    if found := faults(manifest, version, schemas):
        name = manifest.get("metadata", {}).get("name", "")
        listed = "\n".join(f"  {fault}" for fault in found)
        raise AskError(f"invalid manifest of {manifest.get('kind')} '{name}':\n{listed}")
