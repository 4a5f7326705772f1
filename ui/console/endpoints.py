"""The page "Endpoints"."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.context import Context

from ...core.errors import OpswrightError
from ...serving.releases import endpoint_names
from ...serving.rollout import status
from ..show import short
from .console import Console
from .endpoint_figures import WINDOWS_S, moment, view
from .markup import render

STYLE = Path(__file__).with_name("figures.css").read_text()


def build(console: Console) -> None:
    """Lay the page out."""

    def arrive(request: gr.Request) -> tuple[gr.Dropdown, gr.Radio, str]:
        """The pickers as the address says, and the page."""
        console.person(request)
        names = endpoint_names(console.workspace)
        asked = request.query_params.get("endpoint")
        chosen = asked if asked in names else names[0] if names else None
        window = request.query_params.get("window")
        window = window if window in WINDOWS_S else "All"
        picker = gr.Dropdown(choices=names, value=chosen, visible=len(names) > 1)
        return picker, gr.Radio(value=window, visible=bool(names)), page(chosen, window)

    def show(endpoint: str | None, window: str, request: gr.Request) -> str:
        console.person(request)
        return page(endpoint, window)

    def page(endpoint: str | None, window: str) -> str:
        if endpoint is None:
            return render("endpoint_none.html")
        try:
            standing = status(console.workspace)
            row = next((one for one in standing["endpoints"] if one["endpoint"] == endpoint), None)
            shown = view(console.workspace, endpoint, window)
        except OpswrightError as error:
            return render("endpoint_fault.html", fault=str(error))
        return render("endpoint.html", view=shown, standing=standing, row=row)

    def ask(endpoint: str | None, time: str, request: gr.Request) -> str:
        console.person(request)
        if endpoint is None:
            return render("endpoint_none.html")
        return render(
            "endpoint_moment.html", asked=time, short=short, **moment(console.workspace, endpoint, time)
        )

    with gr.Row(elem_id="endpoints-pickers"):
        endpoint = gr.Dropdown(label="Endpoint", visible=False, elem_id="endpoint", scale=1, min_width=180)
        window = gr.Radio(list(WINDOWS_S), value="All", label="Traffic of", elem_id="window", scale=4)
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=110, elem_id="refresh")
    shown = gr.HTML(elem_id="endpoints-page", apply_default_css=False, css_template=STYLE)
    with gr.Row(elem_id="moment"):
        time = gr.Textbox(
            label="What was live at (UTC, ISO 8601; empty: now)",
            placeholder="2026-11-20T15:00:00Z",
            elem_id="moment-time",
            scale=4,
            max_lines=1,
        )
        look = gr.Button("Look", size="sm", scale=0, min_width=110, elem_id="moment-look")
    told = gr.HTML(elem_id="moment-page", apply_default_css=False, css_template=STYLE)

    blocks = Context.root_block
    if blocks is None:
        raise RuntimeError("a page is laid out inside a Blocks")
    blocks.load(arrive, None, [endpoint, window, shown], show_progress="hidden", api_visibility="private")
    gr.on(
        [endpoint.input, window.input, refresh.click],
        show,
        [endpoint, window],
        shown,
        show_progress="hidden",
        api_visibility="private",
    )
    gr.on(
        [look.click, time.submit],
        ask,
        [endpoint, time],
        told,
        show_progress="hidden",
        api_visibility="private",
    )
