"""How pages that Gradio makes listen to a person: quietly, and so that no choice and no answer is lost."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "queue": False,
    "trigger_mode": "always_last",  # a choice made while the last one is worked on counts when that is done
}
"""Options of every Gradio listener that fills a page.

What waits is asked with the page's state as it is then, but with the event of the one before: a function
must not read what was chosen from an event.

No queue: each answer comes with its own request. Gradio's queue answers a page through one stream that is
closed when nothing is waited for. A question that is asked before the page has read of that end is answered
into a closed stream, and its listener waits forever.
"""

IN_ORDER = """
if (!window.lastAsked) {
  window.lastAsked = Promise.resolve();
  const ask = window.fetch;
  window.fetch = (address, ...how) => {
    if (!String(address.url || address).includes("/gradio_api/run/")) return ask(address, ...how);
    const answer = window.lastAsked.then(() => ask(address, ...how));
    window.lastAsked = answer.then((given) => given.clone().text()).catch(() => {});
    return answer;
  };
}
"""
"""Has a page ask one question after another, across its listeners: the newest answer is the last to come."""
