"""What a page's script gets for what it asks: an answer, or the fault in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.errors import OpswrightError, from_os_error
from .auth.users import Person
from .console import Console

Answer = dict[str, Any]


def reply(console: Console, request: Any, what: Callable[[Person], Answer | None]) -> Answer:
    """What was done for the person who asks, or the fault in words."""
    try:
        return what(console.person(request)) or {}
    except OpswrightError as error:
        return {"fault": str(error), "family": error.family}
    except OSError as error:
        known = from_os_error(error, "the page's request was carried out")
        return {"fault": str(known), "family": known.family}
    except (KeyError, TypeError, ValueError) as error:
        return {
            "fault": f"the page sent an invalid request ({error}). Reload it.",
            "family": "",
        }
