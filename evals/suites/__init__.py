"""Suites: what a model is asked and what it should answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...core.errors import AskError, did_you_mean
from . import banking77, clinc150
from .base import Suite

__all__ = ["SUITES", "Suite", "load_suite"]

SUITES: dict[str, Callable[[], Suite]] = {"clinc150": clinc150.suite, "banking77": banking77.suite}


@cache
def load_suite(name: str) -> Suite:
    """The suite of that name; AskError with the nearest one otherwise."""
    if name not in SUITES:
        raise AskError(
            f"unknown suite '{name}' (there are: {', '.join(SUITES)}).{did_you_mean(name, SUITES)}"
        )
    return SUITES[name]()
