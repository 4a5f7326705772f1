"""Form: Kubernetes' own OpenAPI schemas, strictly, and small ones of ours for the kinds of other projects."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.strict_yaml import read_yaml
from ..objects import Manifest
from .fault import FileFault, dotted, shown

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_CUSTOM = Path(__file__).with_name("custom_resources.yaml")
_PREDICTOR_ONLY = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")


def faults_of_schema(file: str, manifest: Manifest, version: str) -> list[FileFault]:
    """Every place of a manifest that the schema of its kind does not allow; unknown fields too."""
    kind, api = str(manifest.get("kind", "")), str(manifest.get("apiVersion", ""))
    validator = _validator(kind, api, version)
    if validator is None:
        return [FileFault(file, "kind", f"{kind} of {api}", f"a kind that Kubernetes {version} has")]
    faults = _faults(validator, file, manifest, ())
    if kind == "InferenceService" and not faults:
        faults += _predictor_faults(file, manifest, version)
    return faults


def _faults(
    validator: Draft202012Validator, file: str, value: Any, place: tuple[str | int, ...]
) -> list[FileFault]:
    return [
        FileFault(file, dotted((*place, *error.absolute_path)), shown(error.instance), error.message[:300])
        for error in sorted(
            validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path))
        )
    ]


def _predictor_faults(file: str, manifest: Manifest, version: str) -> list[FileFault]:
    """KServe's predictor is a pod's specification with a few fields more: it is checked as a pod."""
    predictor = manifest["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name not in _PREDICTOR_ONLY}
    validator = _validator("Pod", "v1", version)
    found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}
    return [] if validator is None else _faults(validator, file, found, ("spec.predictor of",))


@cache
def _validator(kind: str, api: str, version: str) -> Draft202012Validator | None:
    """The validator of a kind, made once; None for a kind that the version has not."""
    from jsonschema import Draft202012Validator

    custom = _custom_schemas().get(f"{api}/{kind}")
    if custom is not None:
        return Draft202012Validator(custom)
    schema = _schema(f"{kind.lower()}-{_group(api)}.json", version)
    if schema is None:
        return None
    return Draft202012Validator(schema, registry=_definitions(version))


def _group(api: str) -> str:
    """The part of a schema's file name that an apiVersion gives: `apps-v1` of apps/v1."""
    group, _, version = api.rpartition("/")
    return f"{group.partition('.')[0]}-{version}" if group else version


def _schema(file: str, version: str) -> Any | None:
    from kubernetes_validate.utils import schema_contents

    try:
        return schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{file}", version)
    except FileNotFoundError:
        return None


@cache
def _definitions(version: str) -> Any:
    from referencing import Registry, Resource

    return Resource.from_contents(_schema("_definitions.json", version)) @ Registry()


@cache
def _custom_schemas() -> dict[str, Any]:
    found: dict[str, Any] = dict(read_yaml(_CUSTOM, "schemas of custom resources").data)
    shared = {"$defs": {"metadata": found.pop("metadata")}}
    return {name: {**schema, **shared} for name, schema in found.items()}
