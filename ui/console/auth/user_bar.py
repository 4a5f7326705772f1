"""The top of a page that Gradio makes: every page, who is logged in, and the way out."""

from __future__ import annotations

import gradio as gr

from ..console import Console
from ..web.frame import top


def build(console: Console, app: gr.Blocks, name: str) -> None:
    """Lay it out on the page of that name, which is being built; who is logged in comes with the page."""

    def show(request: gr.Request) -> str:
        return top(name, console.person(request), can_log_out=console.users is not None)

    shown = gr.HTML(top(name), elem_id="top", apply_default_css=False)
    app.load(show, None, shown, queue=False, show_progress="hidden", api_visibility="private")
