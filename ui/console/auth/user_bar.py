"""The top of a page that Gradio makes: every page, who is logged in, what waits for them, and the way out."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import escape

from ..console import Console
from ..events import IN_ORDER
from ..waiting import waits_for_person
from ..web.frame import top

_SKIPS = """
if (!window.skipsToContent) {
  window.skipsToContent = true;
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("a.skip")) return;
    event.preventDefault();
    document.getElementById("content")?.focus();
  });
}
"""  # Gradio's page has a base address of its own, from which "#content" leads to the chat
_EVERY_S = 20  # seconds between two looks at what waits


def build(console: Console, app: gr.Blocks, name: str) -> None:
    """Lay it out on the page of that name, which is being built; who is logged in comes with the page."""
    title = f'<div class="ow"><h1 id="content" tabindex="-1">{escape(name)}</h1></div>'

    def show(request: gr.Request) -> str:
        person = console.person(request)
        waiting = waits_for_person(console, person)
        return top(name, person, waiting, can_log_out=console.users is not None) + title

    shown = gr.HTML(top(name) + title, elem_id="top", apply_default_css=False, js_on_load=IN_ORDER + _SKIPS)
    told: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    app.load(show, None, shown, **told)
    gr.Timer(_EVERY_S).tick(show, None, shown, **told)
