"""Kubernetes' quantities, as `500m` or `2Gi`: the API's schema takes any text for one."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"\+?(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{1,2})?")
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_SMALL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
_FACTORS = {**_BINARY, **_DECIMAL, **_SMALL}
_MOST = Decimal(2) ** 63 - 1  # the API server caps there, silently


def as_number(text: str) -> Decimal:
    """What a quantity amounts to, more than 0; ValueError for what is none."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text[:40]}' is not a quantity: expected a number with a unit, as 500m, 2 or 2Gi")
    unit = match[2] or ""
    factor = Decimal(f"1e{unit[1:]}") if unit[:1] in ("e", "E") and len(unit) > 1 else _FACTORS[unit]
    number = Decimal(match[1]) * factor
    if not 0 < number <= _MOST:
        raise ValueError(f"quantity '{text[:40]}' is out of range: expected more than 0 and less than 2^63")
    return number
