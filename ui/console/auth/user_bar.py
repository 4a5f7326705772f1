"""Who is logged in, and the way out, on every page."""

from __future__ import annotations

import gradio as gr

from ..console import Console
from ..markup import render


def build(console: Console, app: gr.Blocks) -> None:
    """Lay it out on the page that is being built."""

    def show(request: gr.Request) -> str:
        return render("user_bar.html", person=console.person(request), can_log_out=console.users is not None)

    shown = gr.HTML(elem_id="person", apply_default_css=False)
    app.load(show, None, shown, queue=False, show_progress="hidden", api_visibility="private")
