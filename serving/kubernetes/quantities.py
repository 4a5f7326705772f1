"""Kubernetes' quantities as a request may name them: more than nothing, no more than a cluster counts."""

from __future__ import annotations

from decimal import Decimal

from ...compute.manifests import quantity

_MOST = Decimal(2) ** 63 - 1  # the API server caps there, silently


def as_number(text: str) -> Decimal:
    """What a quantity amounts to, more than 0; ValueError for what is none."""
    number = quantity(text)
    if number is None:
        raise ValueError(f"'{text[:40]}' is not a quantity: expected a number with a unit, as 500m, 2 or 2Gi")
    if not 0 < number <= _MOST:
        raise ValueError(f"quantity '{text[:40]}' is out of range: expected more than 0 and less than 2^63")
    return number
