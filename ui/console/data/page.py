"""The page "Data": files uploaded, looked at, corrected, and made into a project whose plan is proposed."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..chat.chat_service import ChatService
from ..console import Console
from ..replies import Answer, reply
from ..uploads import DATA_KINDS
from ..web.calls import ServerFunction
from ..web.frame import OwnPage

if TYPE_CHECKING:
    from .data_service import DataService, Wish

_FOLDER = Path(__file__).parent


def page(console: Console, chat: ChatService) -> OwnPage:
    """The page. Its script asks the functions below; each gets one JSON object and gives one."""
    return OwnPage(
        "Data",
        _FOLDER / "data.html",
        (_FOLDER.parent / "pages" / "charts.css", _FOLDER / "data.css", _FOLDER / "data.js"),
        {"@kinds": ",".join(DATA_KINDS)},
        _server_functions(console, chat),
    )


def _server_functions(console: Console, chat: ChatService) -> list[ServerFunction]:
    @cache
    def service() -> DataService:
        """Loaded when the page is first used: the first page, mostly the chat, does not wait for it."""
        from .data_service import DataService

        return DataService(console, chat)

    def wish(asked: Answer) -> Wish:
        from .data_service import Wish

        return Wish.of(asked)

    def keep(asked: Answer, request: Any) -> Answer:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        return reply(
            console,
            request,
            lambda who: service().keep(who, Path(str(asked["path"])), str(asked["name"]), folder),
        )

    def look(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service().look(who, wish(asked)))

    def write(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service().write(who, wish(asked), str(asked["name"])))

    return [keep, look, write]
