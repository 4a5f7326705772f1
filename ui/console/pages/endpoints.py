"""The page "Endpoints": releases, their traffic over time, changes, and what was live at a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from ....core.errors import OpswrightError
from ....serving.releases import endpoint_names
from ....serving.status import status
from ...show import short
from ..console import Console
from ..events import QUIET
from ..markup import READING, render
from .endpoint_metrics import WINDOWS_S, moment, view

STYLE = Path(__file__).with_name("charts.css").read_text()


def build(console: Console) -> None:
    """Lay the page out."""
    page = _Page(console)
    with gr.Row(elem_id="endpoints-pickers"):
        endpoint = gr.Dropdown(label="Endpoint", visible=False, elem_id="endpoint", scale=1, min_width=180)
        window = gr.Radio(list(WINDOWS_S), value="All", label="Traffic of", elem_id="window", scale=4)
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=110, elem_id="refresh")
    shown = gr.HTML(READING, elem_id="endpoints-page", apply_default_css=False, css_template=STYLE)
    with gr.Row(elem_id="moment"):
        time = gr.Textbox(
            label="What was live at (UTC, ISO 8601; empty: now)",
            placeholder="2026-11-20T15:00:00Z",
            elem_id="moment-time",
            scale=4,
            max_lines=1,
        )
        look = gr.Button("Look", size="sm", scale=0, min_width=110, elem_id="moment-look")
    moment_view = gr.HTML(elem_id="moment-page", apply_default_css=False, css_template=STYLE)
    blocks: Any = Context.root_block  # a page is laid out inside it
    blocks.load(page.arrive, None, [endpoint, window, shown], **QUIET)
    pickers = [endpoint.input, window.input, refresh.click]
    gr.on(pickers, page.show, [endpoint, window], shown, **QUIET)
    gr.on([look.click, time.submit], page.ask, [endpoint, time], moment_view, **QUIET)


class _Page:
    """What the page's parts show."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def arrive(self, request: gr.Request) -> tuple[gr.Dropdown, gr.Radio, str]:
        """The pickers as the page's address sets them, and the page."""
        names = endpoint_names(self._console.workspace)
        asked = request.query_params.get("endpoint")
        chosen = asked if asked in names else names[0] if names else None
        window = request.query_params.get("window")
        window = window if window in WINDOWS_S else "All"
        picker = gr.Dropdown(choices=names, value=chosen, visible=len(names) > 1)
        return picker, gr.Radio(value=window, visible=bool(names)), self.show(chosen, window, request)

    def show(self, endpoint: str | None, window: str, request: gr.Request) -> str:
        """An endpoint as it is now, and its traffic in a window."""
        workspace = self._console.workspace
        self._console.person(request)
        if endpoint is None:
            return render("endpoint_none.html")
        try:
            standing = status(workspace)
            row = next((one for one in standing["endpoints"] if one["endpoint"] == endpoint), None)
            shown = view(workspace, endpoint, window)
        except OpswrightError as error:
            return render("endpoint_fault.html", fault=str(error))
        return render("endpoint.html", view=shown, standing=standing, row=row)

    def ask(self, endpoint: str | None, time: str, request: gr.Request) -> str:
        """What an endpoint served at a moment."""
        self._console.person(request)
        if endpoint is None:
            return render("endpoint_none.html")
        found = moment(self._console.workspace, endpoint, time)
        return render("endpoint_moment.html", asked=time, short=short, **found)
