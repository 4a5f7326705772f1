"""The page "Chat": commands typed with completion, plans approved with a button, runs followed as they go."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ....core.errors import AskError
from ..console import Console
from ..replies import Answer, reply
from ..uploads import KINDS
from .chat_service import ChatService

_FOLDER = Path(__file__).parent
_WARM_AFTER_S = 0.3  # once the first page is shown, what the first command needs is loaded
_WARM_ANYWAY_S = 3.0  # or when nobody has come yet


def build(console: Console, service: ChatService) -> None:
    """Lay the page out. Its script asks the functions below; each gets one JSON object and gives one."""
    warm = _Once(service.run_service.warm)
    warm.within(_WARM_ANYWAY_S)
    gr.HTML(
        html_template=(_FOLDER / "chat.html").read_text(encoding="utf-8").replace("@kinds", ",".join(KINDS)),
        js_on_load=(_FOLDER / "chat.js").read_text(encoding="utf-8"),
        server_functions=_server_functions(console, service, warm),
        apply_default_css=False,
        elem_id="chat-page",
    )


def _server_functions(console: Console, service: ChatService, warm: _Once) -> list[Callable[..., Answer]]:
    def open_conversation(asked: Answer, request: gr.Request) -> Answer:
        warm.within(_WARM_AFTER_S)
        return reply(console, request, lambda who: service.open(who, asked.get("conversation")))

    def new_conversation(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: {"conversation": service.new()})

    def look(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.look(*_where(asked)))

    def send(asked: Answer, request: gr.Request) -> Answer:
        name, cursor, live = _where(asked)
        return reply(console, request, lambda who: service.send(who, name, str(asked["text"]), cursor, live))

    def assist(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.assist(str(asked["text"])))

    def decide(asked: Answer, request: gr.Request) -> Answer:
        run, plan, approved = str(asked["run"]), str(asked["plan"]), asked["approved"] is True
        return reply(console, request, lambda who: service.decide(who, run, plan, approved))

    def stop_run(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.run_service.stop(who, str(asked["run"])))

    def stop_planning(asked: Answer, request: gr.Request) -> Answer:
        where, message = str(asked["conversation"]), str(asked["message"])
        return reply(console, request, lambda who: service.stop_planning(who, where, message))

    def resume_run(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.run_service.resume(who, str(asked["run"])))

    def withdraw(asked: Answer, request: gr.Request) -> Answer:
        return reply(console, request, lambda who: service.run_service.withdraw(who, str(asked["run"])))

    def keep(asked: Answer, request: gr.Request) -> Answer:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        received, name = Path(str(asked["path"])), str(asked["name"])
        where = str(asked["conversation"])
        return reply(console, request, lambda who: service.keep(who, where, received, name, folder))

    acts = [decide, withdraw, stop_run, stop_planning, resume_run]
    return [open_conversation, new_conversation, look, send, assist, *acts, keep]


class _Once:
    """Does something once, on a thread of its own, at the earliest time it was asked for."""

    def __init__(self, what: Callable[[], None]) -> None:
        self._what = what
        self._begun = threading.Lock()

    def within(self, seconds: float) -> None:
        """Have it done by then."""
        timer = threading.Timer(seconds, self._do)
        timer.daemon = True
        timer.start()

    def _do(self) -> None:
        if self._begun.acquire(blocking=False):
            self._what()


def _where(asked: Answer) -> tuple[str, int, dict[str, Any]]:
    """The conversation, how far the page has it, and the live entries it shows."""
    cursor, live = int(asked.get("cursor", 0)), asked.get("live") or {}
    if cursor < 0 or not isinstance(live, dict):
        raise AskError("the page sent an invalid position. Reload it.")
    return str(asked["conversation"]), cursor, live
