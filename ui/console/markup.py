"""HTML from templates, in which every value is text unless a template made it."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from ...core.text import escaped
from ..times import replace_times

if TYPE_CHECKING:
    from jinja2 import Environment

_PLACE = "\0"  # stands around the number of a time: `escaped` leaves none in a text
READING = '<div class="ow"><p class="soft">Reading ...</p></div>'
"""What a page shows until its first content has come."""


@cache
def environment() -> Environment:
    """The templates of the console; values are escaped, unknown names are errors."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__package__, "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    made.filters["percent"] = percent
    made.filters["when"] = when
    made.filters["ago"] = ago
    made.filters["with_times"] = with_times
    made.filters["amount"] = amount
    return made


def _seen(value: Any) -> Any:
    """A text with escapes for what turns its direction or shows nothing: a card reads as it is."""
    return escaped(value, keep="\n\t") if type(value) is str else value


def render(template: str, **values: Any) -> str:
    """A template of `ui/console/templates`, filled in; markup in a value is shown, never obeyed."""
    return environment().get_template(template).render(**values)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; nothing for None."""
    return "" if value is None else f"{value:.1%}"


def ago(time: str | None) -> str:
    """A time as an element that the page's script turns into "3 h ago"; the whole of it on pointing at it."""
    from markupsafe import Markup

    if not time:
        return ""
    tag = Markup('<time datetime="{}" title="{} UTC">{}</time>')
    return tag.format(time, when(time), when(time)[:16])


def with_times(text: str) -> str:
    """A sentence in which each ISO 8601 time is such an element."""
    from markupsafe import Markup

    times: list[str] = []

    def say(time: datetime) -> str:
        times.append(ago(f"{time:%Y-%m-%dT%H:%M:%SZ}"))
        return f"{_PLACE}{len(times) - 1}{_PLACE}"

    parts = replace_times(_seen(text), say).split(_PLACE)
    told = [times[int(part)] if place % 2 else part for place, part in enumerate(parts)]
    return Markup("").join(told)


def amount(value: float) -> str:
    """An amount to three digits, thousands set off; one that is small stays more than nothing."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


def when(time: str | None) -> str:
    """An ISO 8601 time as a person reads it, UTC to the second."""
    return "" if not time else time[:19].replace("T", " ")
