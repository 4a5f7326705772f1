"""The console's app: its pages in one Gradio application, and the server they run in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Console
from .gradio_import import import_gradio

if TYPE_CHECKING:
    from gradio import Blocks, Theme

_FOLDER = Path(__file__).parent


def build(console: Console) -> Blocks:
    """Every page; the first one is the chat."""
    gr: Any = import_gradio()
    from . import chat, drift, endpoints, leaderboard, ledger

    with gr.Blocks(title="Opswright", analytics_enabled=False, fill_width=True) as app:
        gr.Navbar(main_page_name="Chat")
        chat.build(console)
    for name, page in (
        ("Leaderboard", leaderboard),
        ("Endpoints", endpoints),
        ("Drift", drift),
        ("Ledger", ledger),
    ):
        with app.route(name, f"/{name.lower()}"):
            page.build(console)
    return app  # type: ignore[no-any-return]


def theme() -> Theme:
    """Gradio's plain theme with the system's fonts: nothing is fetched."""
    gr: Any = import_gradio()
    return gr.themes.Base(  # type: ignore[no-any-return]
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def serve(console: Console, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the console until it is interrupted."""
    app = build(console)
    app.queue(default_concurrency_limit=8)
    app.launch(
        server_name=host,
        server_port=port,
        quiet=True,
        ssr_mode=False,
        share=False,
        footer_links=[],
        theme=theme(),
        css_paths=sorted(_FOLDER.glob("*.css")),
    )
