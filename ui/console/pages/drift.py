"""The page "Drift": a drift report's tests, moved labels and plots, and the way to a retraining."""

from __future__ import annotations

import gradio as gr
from gradio.context import Context

from ....core.errors import OpswrightError
from ..console import Console
from ..events import QUIET
from ..markup import READING, render
from .drift_view import choices, view
from .endpoints import STYLE


def build(console: Console) -> None:
    """Lay the page out."""

    def arrive(request: gr.Request) -> tuple[gr.Dropdown, str]:
        """The picker, at the newest report or the one of the address, and that report."""
        console.person(request)
        known = choices(console.workspace)
        asked = request.query_params.get("report", "")
        chosen = next((ref for _, ref in known if asked and ref.startswith(asked)), None)
        chosen = chosen or (known[0][1] if known else None)
        return gr.Dropdown(choices=known, value=chosen, visible=bool(known)), page(chosen)

    def refreshed(report: str | None, request: gr.Request) -> tuple[gr.Dropdown, str]:
        """The same with reports that were made since."""
        console.person(request)
        known = choices(console.workspace)
        chosen = report if report in [ref for _, ref in known] else known[0][1] if known else None
        return gr.Dropdown(choices=known, value=chosen, visible=bool(known)), page(chosen)

    def show(report: str | None, request: gr.Request) -> str:
        console.person(request)
        return page(report)

    def page(report: str | None) -> str:
        if report is None:
            return render("drift_none.html")
        try:
            return render("drift.html", **view(console.workspace, report))
        except OpswrightError as error:
            return render("endpoint_fault.html", fault=str(error))

    with gr.Row(elem_id="drift-pickers"):
        report = gr.Dropdown(label="Report", visible=False, elem_id="report", scale=4)
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=110, elem_id="refresh")
    shown = gr.HTML(READING, elem_id="drift-page", apply_default_css=False, css_template=STYLE)

    blocks = Context.root_block
    if blocks is None:
        raise RuntimeError("a page is laid out inside a Blocks")
    blocks.load(arrive, None, [report, shown], **QUIET)
    refresh.click(refreshed, report, [report, shown], **QUIET)
    report.input(show, report, shown, **QUIET)
