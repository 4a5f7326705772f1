"""Form: Kubernetes' own OpenAPI schemas, strictly, and those given for the kinds of other projects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ...core.errors import AskError, NeedsError
from .fault import ManifestFault, path_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

Manifest: TypeAlias = Mapping[str, Any]
Schemas: TypeAlias = Mapping[tuple[str, str], Mapping[str, Any]]  # JSON schemas by (apiVersion, kind)

OLDEST, NEWEST = (1, 25), (1, 37)  # versions of Kubernetes whose schemas are there
INSTALL = "Install it: python -m pip install 'opswright[kubernetes]'"
_LONGEST = 300  # characters of what a schema says


def faults_of_form(manifest: Manifest, version: str, schemas: Schemas | None = None) -> list[ManifestFault]:
    """Every place of a manifest that the schema of its kind does not allow; unknown fields too.

    As `faults`.
    """
    known = _known(version)
    kind = (manifest.get("apiVersion"), manifest.get("kind"))
    if not all(isinstance(word, str) and word for word in kind):
        return [ManifestFault("", "apiVersion and kind are needed")]
    found = _validator(str(kind[0]), str(kind[1]), known, schemas or {})
    if found is None:
        return [ManifestFault("kind", f"Kubernetes {known} has no {kind[1]} in {kind[0]}")]
    return sorted(map(_fault, found.iter_errors(manifest)), key=str)


def _known(version: str) -> str:
    """A version as `1.34`; AskError for one whose schemas are not there."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)(\.\d+)?", version)
    if found is None or not OLDEST <= (int(found[1]), int(found[2])) <= NEWEST:
        lowest, highest = (".".join(map(str, one)) for one in (OLDEST, NEWEST))
        raise AskError(
            f"no schemas of Kubernetes '{version}' are here: expected {lowest} to {highest}, as `kubectl "
            "version` shows it of the server."
        )
    return f"{found[1]}.{found[2]}"


def _fault(error: ValidationError) -> ManifestFault:
    """Of several alternatives, the fault that lies deepest."""
    deepest = max([error, *(error.context or ())], key=lambda one: len(one.absolute_path))
    return ManifestFault(path_of(deepest.absolute_path), deepest.message[:_LONGEST])


def _validator(api: str, kind: str, version: str, schemas: Schemas) -> Draft202012Validator | None:
    """The validator of a kind; None for a kind that neither the version nor the given schemas have."""
    from jsonschema import Draft202012Validator

    given = schemas.get((api, kind))
    return _published(api, kind, version) if given is None else Draft202012Validator(given)


@cache
def _published(api: str, kind: str, version: str) -> Draft202012Validator | None:
    from jsonschema import Draft202012Validator

    schema = _schema(f"{kind.lower()}-{_group(api)}.json", version)
    return None if schema is None else Draft202012Validator(schema, registry=_definitions(version))


def _group(api: str) -> str:
    """The part of a schema's file name that an apiVersion gives: `apps-v1` of apps/v1."""
    group, _, version = api.rpartition("/")
    return f"{group.partition('.')[0]}-{version}" if group else version


def _schema(file: str, version: str) -> Any | None:
    try:
        from kubernetes_validate.utils import schema_contents
    except ImportError as error:
        raise NeedsError(
            f"manifests are checked by kubernetes-validate, which is missing. {INSTALL}"
        ) from error
    try:
        return schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{file}", version)
    except FileNotFoundError:
        return None


@cache
def _definitions(version: str) -> Any:
    from referencing import Registry, Resource

    return Resource.from_contents(_schema("_definitions.json", version)) @ Registry()
