"""How people say a request's field in plain language, declared at the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Spoken:
    """Other names of a field, and other words for its values; stands in `Annotated` beside the type.

    A number is told by the name beside it ("rank 8") or by its unit ("200 steps"): give both as `names`. The
    field's own name, with spaces for underscores, and the values themselves need not be given. `asked`: who
    names the field without a value is asked for one, where the default would not be what they mean.
    """

    names: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: bool = False
