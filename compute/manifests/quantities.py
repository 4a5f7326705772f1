"""Kubernetes' quantities, as `500m` or `2Gi`: the API's schema takes any text for one."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?")
_DECIMAL_UNITS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_UNITS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str | int | float) -> Decimal | None:
    """The number that a Kubernetes quantity stands for (`500m`, `2Gi`, `1e3`); None when it is none."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        return None
    number, exponent, unit = Decimal(found[1]), found[2], found[3] or ""
    if exponent:
        return number.scaleb(int(exponent[1:]))
    return number * 2 ** _BINARY_UNITS[unit] if unit in _BINARY_UNITS else number.scaleb(_DECIMAL_UNITS[unit])
