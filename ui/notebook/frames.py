"""Data frames of what a workspace holds; pandas is loaded when the first one is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.errors import NeedsError

if TYPE_CHECKING:
    import pandas as pd


def frame(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = (), times: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows as a data frame; `times` become UTC timestamps.

    columns: what stands first, also where there are no rows. Raises NeedsError without pandas.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise NeedsError(
            "data frames need pandas, which is not installed: pip install 'opswright[notebook]'."
        ) from error
    found = list(rows)
    others = dict.fromkeys(name for row in found for name in row if name not in columns)
    made = pd.DataFrame(found, columns=[*columns, *others])
    for name in times:
        made[name] = pd.to_datetime(made[name], utc=True, format="ISO8601")
    return made


def flat_facts(facts: Mapping[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """The facts that fit a cell (texts, numbers, yes or no); a name that is taken gets `fact_` before it."""
    reserved = set(taken)
    return {
        f"fact_{name}" if name in reserved else name: value
        for name, value in facts.items()
        if isinstance(value, str | int | float)
    }
