"""The page "Data": files uploaded, looked at, corrected, and made into a project whose plan is proposed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..chat.chat_service import ChatService
from ..console import Console
from ..replies import Answer, reply
from ..uploads import DATA_KINDS
from .data_service import DataService, Wish

_FOLDER = Path(__file__).parent


def build(console: Console, chat: ChatService) -> None:
    """Lay the page out. Its script asks the functions below; each gets one JSON object and gives one."""
    service = DataService(console, chat)
    html = (_FOLDER / "data.html").read_text(encoding="utf-8").replace("@kinds", ",".join(DATA_KINDS))
    gr.HTML(
        html_template=html,
        js_on_load=(_FOLDER / "data.js").read_text(encoding="utf-8"),
        server_functions=_server_functions(console, service),
        apply_default_css=False,
        css_template=(_FOLDER.parent / "pages" / "charts.css").read_text(encoding="utf-8"),
        elem_id="data-page",
    )


def _server_functions(console: Console, service: DataService) -> list[Callable[..., Answer]]:
    def keep(asked: Answer, request: gr.Request) -> Answer:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        return reply(
            console,
            request,
            lambda who: service.keep(who, Path(str(asked["path"])), str(asked["name"]), folder),
        )

    def look(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.look(who, Wish.of(asked)))

    def write(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.write(who, Wish.of(asked), str(asked["name"])))

    return [keep, look, write]
