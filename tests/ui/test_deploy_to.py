"""`deploy --to kubernetes` is the skill for clusters: it writes, unless it is told to apply."""

from __future__ import annotations

import shlex

import pytest

from opswright.core.errors import AskError
from opswright.ui.deploy_to import routed


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("deploy --bundle b --endpoint shop", "deploy --bundle b --endpoint shop"),
        ("deploy --to here --bundle b", "deploy --bundle b"),
        ("deploy --to kubernetes --bundle b", "kubernetes-manifests --bundle b"),
        ("--home x deploy to=kubernetes --bundle b", "--home x kubernetes-manifests --bundle b"),
        ("deploy --to=kubernetes --dry-run --bundle b", "kubernetes-manifests --bundle b"),
        ("deploy --to kubernetes --dry-run true --bundle b", "kubernetes-manifests --bundle b"),
        ("deploy --to kubernetes --dry-run false --bundle b", "kubernetes-deploy --bundle b"),
        ("deploy --to kubernetes dry_run=false --bundle b", "kubernetes-deploy --bundle b"),
        ("deploy --to kubernetes --no-dry-run --bundle b", "kubernetes-deploy --bundle b"),
        ("roll-out --to kubernetes", "roll-out --to kubernetes"),
    ],
)
def test_the_place_chooses_the_skill(given: str, becomes: str) -> None:
    assert routed(shlex.split(given)) == shlex.split(becomes)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("deploy --to kubernets --bundle b", "Did you mean 'kubernetes'"),
        ("deploy --to kubernetes --dry-run no --bundle b", "expected true"),
    ],
)
def test_what_is_no_place_is_refused(given: str, says: str) -> None:
    with pytest.raises(AskError, match=says):
        routed(shlex.split(given))
