"""No secret in a file: neither an object that holds some, nor a text that has the form of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ....compute.manifests import path_of
from ..objects import Manifest
from .fault import FileFault

_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bops_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"  # a key of the gateway
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bhf_[A-Za-z0-9]{30,}"
    r"|\b(sk|nvapi)-[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."
    r"|://[^/\s:@]+:[^/\s@]+@"  # a password in an address
)
_WANTED = "the name of a Secret of the cluster, never what is in it"


def looks_secret(text: str) -> bool:
    """Whether a text has, somewhere, the form of a known kind of key or password."""
    return _FORMS.search(text) is not None


def faults_of_secrets(file: str, manifest: Manifest) -> list[FileFault]:
    """Where a manifest holds what nobody should read; the value itself is not shown."""
    places = ([()] if manifest.get("kind") == "Secret" else []) + list(_places(manifest, ()))
    return [FileFault(file, path_of(place), f"found a secret's value, wanted {_WANTED}") for place in places]


def _places(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*place, str(key)))
        is_variable = isinstance(value.get("name"), str) and "value" in value
        if is_variable and re.search(r"(?i)secret|token|password|_key$", value["name"]) and value["value"]:
            yield (*place, "value")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _places(one, (*place, number))
    elif isinstance(value, str) and looks_secret(value):
        yield place
