"""Schemas of the kinds of other projects, made by hand, and of what those hold of Kubernetes' own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ....compute.manifests import ManifestFault, Schemas, faults_of_form
from ....core.strict_yaml import read_yaml
from ..objects import Manifest

_CUSTOM = Path(__file__).with_name("custom_resources.yaml")
_PREDICTOR_ONLY = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")


@cache
def custom_schemas() -> Schemas:
    """JSON schemas of custom resources, by apiVersion and kind."""
    found: dict[str, Any] = dict(read_yaml(_CUSTOM, "schemas of custom resources").data)
    shared = {"$defs": {"metadata": found.pop("metadata")}}
    named = (name.rpartition("/") for name in found)
    return {(api, kind): {**found[f"{api}/{kind}"], **shared} for api, _, kind in named}


def faults_of_predictor(manifest: Manifest, version: str) -> list[ManifestFault]:
    """KServe's predictor is a pod's specification with a few fields more: it is checked as a pod."""
    predictor = manifest["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name not in _PREDICTOR_ONLY}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}
    found = faults_of_form(whole, version)
    return [ManifestFault(f"spec.predictor, as a pod: {one.path}", one.message) for one in found]
