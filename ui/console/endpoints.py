"""The page "Endpoints"."""

from __future__ import annotations

import gradio as gr

from .console import Console


def build(console: Console) -> None:
    """Lay the page out."""
    gr.HTML("<p>endpoints</p>", elem_id="endpoints-page")
