"""The page "Chat": commands typed with completion, plans approved with a button, runs followed as they go."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....core.errors import AskError
from ..console import Console
from ..replies import Answer, reply
from ..uploads import KINDS
from ..web.calls import ServerFunction
from ..web.frame import OwnPage
from .chat_service import ChatService

_FOLDER = Path(__file__).parent
_FARTHEST = 1 << 48  # bytes into a conversation
_WARM_AFTER_S = 0.3  # once the first page is shown, what the first command needs is loaded
_WARM_ANYWAY_S = 3.0  # or when nobody has come yet


def page(console: Console, service: ChatService) -> OwnPage:
    """The page. Its script asks the functions below; each gets one JSON object and gives one."""
    warm = _Once(service.run_service.warm)
    console.at_start.append(lambda: warm.within(_WARM_ANYWAY_S))
    console.at_end.append(warm.never)
    return OwnPage(
        "Chat",
        _FOLDER / "chat.html",
        tuple(
            _FOLDER / name
            for name in (
                "chat.css",
                "chat.js",
                "address.js",
                "card_for.js",
                "conversation_list.js",
                "plan_editor.js",
            )
        ),
        {"@kinds": ",".join(KINDS)},
        _server_functions(console, service, warm),
    )


def _server_functions(console: Console, service: ChatService, warm: _Once) -> list[ServerFunction]:
    def open_conversation(asked: Answer, request: Any) -> Answer:
        warm.within(_WARM_AFTER_S)
        return reply(console, request, lambda who: service.open(who, asked.get("conversation")))

    def new_conversation(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: {"conversation": service.new()})

    def list_conversations(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service.listed(str(asked.get("words", ""))))

    def rename(asked: Answer, request: Any) -> Answer:
        name, title = str(asked["conversation"]), str(asked["title"])
        return reply(console, request, lambda who: service.rename(who, name, title))

    def delete(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service.delete(who, str(asked["conversation"])))

    def overview(asked: Answer, request: Any) -> Answer:
        return reply(console, request, service.overview)

    def look(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service.look(*_where(asked)))

    def send(asked: Answer, request: Any) -> Answer:
        name, cursor, live = _where(asked)
        return reply(console, request, lambda who: service.send(who, name, str(asked["text"]), cursor, live))

    def assist(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service.assist(str(asked["text"])))

    def stop_planning(asked: Answer, request: Any) -> Answer:
        where, message = str(asked["conversation"]), str(asked["message"])
        return reply(console, request, lambda who: service.stop_planning(who, where, message))

    def keep(asked: Answer, request: Any) -> Answer:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        received, name = Path(str(asked["path"])), str(asked["name"])
        where = str(asked["conversation"])
        return reply(console, request, lambda who: service.keep(who, where, received, name, folder))

    return [
        *(open_conversation, new_conversation, overview, look, send, assist, stop_planning, keep),
        *(list_conversations, rename, delete),
        *_run_functions(console, service),
    ]


def _run_functions(console: Console, service: ChatService) -> list[ServerFunction]:
    """What the card of a run asks."""
    runs = service.run_service

    def decide(asked: Answer, request: Any) -> Answer:
        run, plan, approved = str(asked["run"]), str(asked["plan"]), asked["approved"] is True
        return reply(console, request, lambda who: service.decide(who, run, plan, approved))

    def plan_text(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: service.plan_text(str(asked["run"])))

    def check_plan(asked: Answer, request: Any) -> Answer:
        return reply(
            console, request, lambda who: service.check_plan(who, str(asked["run"]), str(asked["text"]))
        )

    def change_plan(asked: Answer, request: Any) -> Answer:
        name, run, text = str(asked["conversation"]), str(asked["run"]), str(asked["text"])
        return reply(console, request, lambda who: service.change_plan(who, name, run, text))

    def stop_run(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: runs.stop(who, str(asked["run"])))

    def resume_run(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: runs.resume(who, str(asked["run"])))

    def withdraw(asked: Answer, request: Any) -> Answer:
        return reply(console, request, lambda who: runs.withdraw(who, str(asked["run"])))

    return [decide, withdraw, stop_run, resume_run, plan_text, check_plan, change_plan]


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

    def never(self) -> None:
        """Have it not done any more."""
        self._begun.acquire(blocking=False)

    def _do(self) -> None:
        if self._begun.acquire(blocking=False):
            self._what()


def _where(asked: Answer) -> tuple[str, int, dict[str, Any]]:
    """The conversation, how far the page has it, and the live entries it shows."""
    cursor, live = asked.get("cursor", 0), asked.get("live") or {}
    is_place = isinstance(cursor, int) and 0 <= cursor <= _FARTHEST
    if not is_place or not isinstance(live, dict) or not all(isinstance(one, dict) for one in live.values()):
        raise AskError("the page sent an invalid position. Reload it.")
    return str(asked["conversation"]), cursor, live
