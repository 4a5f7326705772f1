"""Filters: small functions that say why a sample should not be learned, or nothing.

Each is made by its name and limits, and they run in the order in which they are asked for.
"""

from __future__ import annotations

from .base import Filter, FilterSpec
from .registry import FILTERS, filters_needing_words, make_filter, modules_of

__all__ = ["FILTERS", "Filter", "FilterSpec", "filters_needing_words", "make_filter", "modules_of"]
