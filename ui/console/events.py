"""How the pages listen to a person: quietly, and so that no choice is lost."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "trigger_mode": "always_last",  # a choice made while the last one is worked on counts when that is done
}
"""Options of every Gradio listener that fills a page.

What waits is asked with the page's state as it is then, but with the event of the one before: a function
must not read what was chosen from an event.
"""
