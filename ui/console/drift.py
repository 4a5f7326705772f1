"""The page "Drift"."""

from __future__ import annotations

import gradio as gr

from .console import Console


def build(console: Console) -> None:
    """Lay the page out."""
    gr.HTML("<p>drift</p>", elem_id="drift-page")
